"""Parts of the service that need none: names, tokens, figures, rates, files."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_trainer_env.arena.client.uploads import multipart
from ml_trainer_env.arena.errors import RefusedError, TooManyError
from ml_trainer_env.arena.files.blobs import Blobs
from ml_trainer_env.arena.files.names import MAX_BYTES, file_name
from ml_trainer_env.arena.leaderboard.statistics import ci95, differs
from ml_trainer_env.arena.rates import Rates
from ml_trainer_env.arena.settings import Settings, SettingsError


@pytest.mark.parametrize("name", ["agent.py", "model-1.pt", "Größe.txt", "a b.csv", "x@2+3=5.bin", "_init.py"])
def test_plain_names_are_taken(name: str) -> None:
    assert file_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        ".hidden",
        "a\0b",
        "a\nb",
        "x" * 200,
        "a ",
        "a.",
        "a#b",
        "a?b",
        "\u202ea",
        "ä" * 61,
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(RefusedError, match="file's name"):
        file_name(name)


@given(st.text())
def test_a_name_that_is_taken_leads_nowhere_else(text: str) -> None:
    try:
        name = file_name(text)
    except RefusedError:
        return
    assert Path("/folder", name).parent == Path("/folder")
    assert Path("/folder", name).resolve().parent == Path("/folder")
    assert len(name.encode()) <= MAX_BYTES
    assert file_name(name) == name


def test_the_interval_is_students() -> None:
    assert ci95([1.0, 2.0, 3.0]) == pytest.approx(4.302652729696142 / 3**0.5)
    assert ci95([0.5]) is None
    assert ci95([0.5, 0.5]) == 0.0


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        ([0.9, 0.8, 0.7], [0.9, 0.8, 0.7], False),
        ([0.91, 0.81, 0.71], [0.9, 0.8, 0.7], True),
        ([0.9, 0.1, 0.5, 0.6], [0.5, 0.6, 0.9, 0.1], False),
        ([0.90, 0.91, 0.92, 0.905], [0.80, 0.82, 0.81, 0.80, 0.1], True),
        ([0.9], [0.1], None),
    ],
)
def test_agents_differ_if_chance_hardly_makes_it_so(one: list[float], other: list[float], differ: bool | None) -> None:
    assert differs(one, other) is differ
    assert differs(other, one) is differ


def test_a_token_that_calls_too_often_is_refused_and_others_are_not() -> None:
    rates = Rates(per_s=0.001, burst=3, message="too many")
    for _ in range(3):
        rates.take("eager")

    with pytest.raises(TooManyError, match="too many"):
        rates.take("eager")
    rates.take("calm")


def test_files_are_kept_by_what_they_hold(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "files")

    digest, size = blobs.put_stream(io.BytesIO(b"x" * 3_000_000))

    assert size == 3_000_000
    assert blobs.put(b"x" * 3_000_000) == digest
    assert blobs.get(digest) == b"x" * 3_000_000
    assert [path.name for path in (tmp_path / "files").rglob("*") if path.is_file()] == [digest]


def test_a_form_is_as_long_as_it_says() -> None:
    form = multipart('odd "name".py', io.BytesIO(b"content"), 7)
    body = b"".join(form["content"])

    assert len(body) == int(form["headers"]["Content-Length"])
    assert b'filename="odd %22name%22.py"' in body


@pytest.mark.parametrize("text", ["many", "-1", "inf", "nan"])
def test_a_setting_that_is_no_number_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match="ARENA_LEASE_S"):
        Settings.from_environment({"ARENA_LEASE_S": text})


def test_a_task_has_as_many_images_as_the_setting_says_and_as_mnist_without() -> None:
    assert Settings.from_environment({}).train_images == 60_000
    assert Settings.from_environment({"ARENA_TRAIN_IMAGES": "6000"}).train_images == 6_000


def test_the_client_keeps_its_import_paths() -> None:
    import ml_trainer_env.arena as arena
    from ml_trainer_env.arena import client
    from ml_trainer_env.arena.client import api

    assert sorted(arena.__all__) == ["Client", "connect"]
    assert arena.Client is client.Client is api.Client
    assert arena.connect is client.connect
    assert sorted(client.__all__) == [
        "AuthenticationError",
        "Client",
        "CompetitionNotFoundError",
        "MLArenaError",
        "SubmissionError",
        "connect",
    ]
    assert all(hasattr(client, name) for name in client.__all__)
