"""Pictures of competitions: which are taken, who sees them, and how they are sent."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from arena_service import Arena

from ml_trainer_env.arena.client import Client, MLArenaError, connect
from ml_trainer_env.arena.competitions.images import IMAGE_START, image_type
from ml_trainer_env.arena.errors import RefusedError

PNG = b"\x89PNG\r\n\x1a\n" + b"and so on"


@pytest.fixture(scope="module")
def creator(arena: Arena) -> Iterator[Client]:
    with connect(arena.token("painter", "creator"), arena.url) as client:
        yield client


@pytest.fixture
def visitor(arena: Arena) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=arena.url) as client:
        yield client


def competition(creator: Client, public: bool = True) -> int:
    made: int = creator.create_competition("Painted", "permuted_mnist", is_public=public)["competition_id"]
    return made


def paint(creator: Client, cid: int, folder: Path, content: bytes) -> None:
    picture = folder / "picture"
    picture.write_bytes(content)
    creator.set_competition_image(cid, picture)


@pytest.mark.parametrize(
    ("start", "media_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0\1", "image/jpeg"),
        (b"GIF87a\1\0\1\0\0\0", "image/gif"),
        (b"GIF89a\1\0\1\0\0\0", "image/gif"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
    ],
)
def test_a_picture_is_known_by_how_it_begins(start: bytes, media_type: str) -> None:
    assert image_type(start[:IMAGE_START]) == media_type


@pytest.mark.parametrize(
    "start", [b"", b"no picture", b"<svg xmlns=", b"<!doctype html", b"\x89PNG", b"RIFF\x24\0\0\0WAVEfmt ", b"BM\0\0"]
)
def test_what_is_no_picture_is_refused_and_told_what_is_one(start: bytes) -> None:
    with pytest.raises(RefusedError, match="PNG, JPEG, GIF or WebP"):
        image_type(start)


def test_only_a_picture_is_kept(creator: Client, visitor: httpx.Client, tmp_path: Path) -> None:
    cid = competition(creator)
    paint(creator, cid, tmp_path, PNG)

    with pytest.raises(MLArenaError, match="PNG, JPEG, GIF or WebP"):
        paint(creator, cid, tmp_path, b"<script>alert(1)</script>")

    assert visitor.get(f"/competitions/{cid}/image").content == PNG


def test_a_picture_is_sent_as_what_it_is_and_nothing_else(
    creator: Client, visitor: httpx.Client, tmp_path: Path
) -> None:
    cid = competition(creator)
    paint(creator, cid, tmp_path, PNG)

    answer = visitor.get(f"/competitions/{cid}/image")

    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_a_picture_is_sent_once_until_it_is_another(creator: Client, visitor: httpx.Client, tmp_path: Path) -> None:
    cid = competition(creator)
    paint(creator, cid, tmp_path, PNG)
    known = {"If-None-Match": visitor.get(f"/competitions/{cid}/image").headers["etag"]}

    again = visitor.get(f"/competitions/{cid}/image", headers=known)
    paint(creator, cid, tmp_path, b"GIF89a")
    another = visitor.get(f"/competitions/{cid}/image", headers=known)

    assert (again.status_code, again.content) == (304, b"")
    assert (another.status_code, another.headers["content-type"]) == (200, "image/gif")


def test_where_there_is_no_picture_none_is_shown(creator: Client, visitor: httpx.Client) -> None:
    cid = competition(creator)

    assert visitor.get(f"/competitions/{cid}/image").status_code == 404
    assert "<img" not in visitor.get(f"/competitions/{cid}").text


def test_a_hidden_competitions_picture_is_its_creators_alone(
    creator: Client, visitor: httpx.Client, arena: Arena, tmp_path: Path
) -> None:
    cid = competition(creator, public=False)
    paint(creator, cid, tmp_path, PNG)

    assert visitor.get(f"/competitions/{cid}/image").status_code == 404
    visitor.post("/signin", data={"token": arena.token("painter")})
    assert visitor.get(f"/competitions/{cid}/image").status_code == 200
