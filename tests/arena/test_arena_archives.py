"""Folders and zip archives: paths are kept, and of hostile archives nothing gets through."""

import io
import stat
import struct
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ml_trainer_env.arena.client.errors import SubmissionError
from ml_trainer_env.arena.client.packing import collect
from ml_trainer_env.arena.errors import RefusedError
from ml_trainer_env.arena.files.archives import MAX_INDEX_BYTES, open_archive
from ml_trainer_env.arena.files.names import MAX_BYTES, file_path, require_distinct
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.tables import Agent, AgentFile, Deploy, Scope
from ml_trainer_env.arena.tokens.service import create_token
from ml_trainer_env.arena.workers.worker import Worker

MB = 2**20
AGENT = """from models import LABEL
from utils.deep import twice
from .helper import same


class Agent:
    def train(self, X, y):
        print(same(twice(LABEL)))

    def predict(self, X):
        return [LABEL] * len(X)
"""
FILES = {
    "agent.py": AGENT,
    "helper.py": "def same(x): return x\n",
    "models/__init__.py": "from .net import LABEL\n",
    "models/net.py": "LABEL = 3\n",
    "utils/__init__.py": "",
    "utils/deep/__init__.py": "def twice(x): return 2 * x\n",
}
"""Packages of the same file names, imported by name and relatively."""


def packed(files: Mapping[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return buffer.getvalue()


def with_entries(*names: str, mode: int = 0) -> bytes:
    """An archive with entries that `zipfile` would warn of or change."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            info = zipfile.ZipInfo("placeholder")
            info.filename, info.external_attr = name, mode << 16
            archive.NameToInfo.clear()
            archive.writestr(info, b"content")
    return buffer.getvalue()


def paths_in(content: bytes, max_files: int = 20, max_bytes: int = MB) -> list[str]:
    archive = open_archive(io.BytesIO(content), len(content), max_files, max_bytes)
    return [member.path for member in archive.members]


def unpacked(content: bytes, max_bytes: int = MB) -> dict[str, bytes]:
    archive = open_archive(io.BytesIO(content), len(content), 20, max_bytes)
    found = {}
    for member in archive.members:
        with archive.reading(member) as stream:
            found[member.path] = stream.read()
    return found


def test_paths_of_an_archive_are_kept() -> None:
    assert unpacked(packed(FILES)) == {path: text.encode() for path, text in FILES.items()}


def test_the_folder_around_a_submission_and_what_archivers_add_are_left_out() -> None:
    around = {f"my agent/{path}": text for path, text in FILES.items()}
    more = {
        "__MACOSX/my agent/._agent.py": "x",
        "my agent/.DS_Store": "x",
        "my agent/models/__pycache__/net.cpython-311.pyc": "x",
        "my agent/": "",
        "my agent/empty/": "",
    }

    assert paths_in(packed(around | more)) == list(FILES)
    assert paths_in(packed({"models/net.py": "", "models/x.py": ""})) == ["models/net.py", "models/x.py"]


@pytest.mark.parametrize(
    "name",
    [
        "../agent.py",
        "models/../../agent.py",
        "/etc/passwd",
        "//agent.py",
        "models//net.py",
        "./agent.py",
        "C:\\agent.py",
        "models\\net.py",
        "C:/agent.py",
        "agent.py\0.txt",
        "a" * 4096,
        "a/" * 2048 + "agent.py",
        "models/" + "x" * MAX_BYTES,
        "",
        "/",
        "models/ ",
        "\u202eyp.tnega",
        "a\nb.py",
    ],
    ids=repr,
)
def test_a_path_that_is_not_plain_is_refused(name: str) -> None:
    with pytest.raises(RefusedError, match=r"file's (name|path)"):
        paths_in(with_entries("agent.py", name))


@pytest.mark.parametrize(
    "mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, 0o170000], ids=oct
)
def test_a_link_or_a_device_is_refused(mode: int) -> None:
    with pytest.raises(RefusedError, match="link or a device"):
        paths_in(with_entries("agent.py", mode=mode | 0o644))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("agent.py", "agent.py"), "two files would be called agent.py"),
        (("agent.py", "Agent.py"), "same file on some systems"),
        (("models/a.py", "Models/b.py"), "same file on some systems"),
        (("é.py", "e\u0301.py"), "two files would be called"),
        (("ﬁle.py", "file.py"), "same file on some systems"),
        (("straße.py", "STRASSE.py"), "same file on some systems"),
        (("models", "models/net.py"), "same file on some systems"),
        (("models/net.py", "models"), "same file on some systems"),
    ],
)
def test_names_that_clash_are_refused(names: tuple[str, ...], words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        paths_in(with_entries(*names))


def test_a_bomb_is_refused_before_anything_is_unpacked() -> None:
    bomb = packed({"agent.py": b"\0" * (20 * MB)})

    with pytest.raises(RefusedError, match="bytes at the most together"):
        paths_in(bomb, max_bytes=10 * MB)
    with pytest.raises(RefusedError, match="packed 200 to 1"):
        paths_in(bomb, max_bytes=100 * MB)


def test_an_entry_that_lies_about_its_size_gives_no_more_bytes_than_it_says() -> None:
    honest = packed({"agent.py": b"\0" * (5 * MB)})
    size = struct.pack("<I", 5 * MB)
    lie = honest.replace(size, struct.pack("<I", 1000))

    with pytest.raises(RefusedError, match="damaged"):
        unpacked(lie)


def test_files_that_overlap_give_no_more_bytes_than_the_limit() -> None:
    """As in the bombs of David Fifield: many entries of one piece of data."""
    content = packed({"agent.py": b"\0" * MB})
    index = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    entry = content[index:end]
    entries = [entry.replace(b"agent.py", f"agent{number:02}y".encode()[:8]) for number in range(19)]
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 19, 19, sum(map(len, entries)), index, 0)

    with pytest.raises(RefusedError, match="bytes at the most together"):
        paths_in(content[:index] + b"".join(entries) + tail, max_bytes=10 * MB)


def test_a_list_of_a_hundred_thousand_files_is_not_read() -> None:
    header = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0)
    index = b"".join(header + f"{number:08}".encode() for number in range(100_000))
    content = index + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 34_464, 34_464, len(index), 0, 0)

    with pytest.raises(RefusedError, match=f"{MAX_INDEX_BYTES} bytes at the most"):
        paths_in(content)


def test_too_many_files_are_refused() -> None:
    content = packed({f"file{number}.py": "" for number in range(21)})

    with pytest.raises(RefusedError, match="20 files at the most, and the archive has 21"):
        paths_in(content)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_whose_memory_the_archive_decides_are_refused(method: int) -> None:
    with pytest.raises(RefusedError, match="packed by deflate"):
        paths_in(packed({"agent.py": "x"}, method))


def test_an_encrypted_file_is_refused() -> None:
    content = bytearray(packed({"agent.py": "x"}))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1

    with pytest.raises(RefusedError, match="encrypted"):
        paths_in(bytes(content))


@settings(max_examples=25)
@given(st.binary(max_size=200) | st.builds(lambda b: b + packed({"a.py": "x"}), st.binary(max_size=20)))
@example(b"PK\x05\x06" + b"\xff" * 18)
@example(b"PK\x05\x06" + b"\0" * 18)
def test_what_is_no_archive_is_refused(content: bytes) -> None:
    try:
        found = unpacked(content)
    except RefusedError:
        return
    assert found == {"a.py": b"x"}


@settings(max_examples=25)
@given(st.data())
def test_a_damaged_archive_is_refused_or_gives_plain_files(data: st.DataObject) -> None:
    content = bytearray(packed({"agent.py": "x" * 50, "models/net.py": "y" * 50}))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))

    try:
        found = unpacked(bytes(content))
    except RefusedError:
        return
    for path in found:
        assert file_path(path) == path
        assert Path("/folder", path).resolve() == Path("/folder", path)
    require_distinct(found)


@settings(max_examples=25)
@given(st.text() | st.lists(st.text(max_size=5) | st.just(".."), max_size=6).map("/".join))
def test_a_path_that_is_taken_stays_in_its_folder(text: str) -> None:
    try:
        path = file_path(text)
    except RefusedError:
        return
    assert Path("/folder", path).resolve() == Path("/folder", path)
    assert Path("/folder") in Path("/folder", path).parents
    assert len(path.encode()) <= MAX_BYTES
    assert file_path(path) == path


@pytest.fixture
def client(services: Services, application: FastAPI, make_agent: Any) -> Iterator[TestClient]:
    """Ada, who has a submission."""
    make_agent()
    with services.database.transaction() as session:
        token = create_token(session, "ada", Scope.USER)
    with TestClient(application, headers={"Authorization": f"Bearer {token}"}) as client:
        yield client


AGENTS, SUBMISSIONS = "/api/direct_attache_agents/competition/1/1", "/api/submissions/challenge/1/1"

HOSTILE = {
    "upward": packed({"agent.py": "x = 1\n", "../escape.py": ""}),
    "twice": with_entries("agent.py", "agent.py"),
    "case": with_entries("Agent.py"),
    "file and folder": with_entries("agent.py/x"),
    "too many with those there are": packed({f"file{number}.py": "" for number in range(20)}),
    "no archive": b"no archive",
}


def test_both_protocols_unpack_an_archive_and_take_paths(client: TestClient) -> None:
    """The official SDK sends a file under its base name: an archive as it is, and text under the name given."""
    for area in (AGENTS, SUBMISSIONS):
        answer = client.put(f"{area}/file", files={"file": ("my agent (1).zip", packed(FILES))})
        one = client.put(f"{area}/file", files={"file": ("models/net.py", b"LABEL = 4\n")})

        assert (answer.status_code, answer.json()["status"]) == (200, "upload_validated")
        assert one.status_code == 200
        content = client.get(f"{area}/file/models/net.py/content")
        assert content.json() == {"filename": "models/net.py", "content": "LABEL = 4\n"}
        files = client.get(f"{area}/file").json()["files"]
        assert sorted(files if isinstance(files, dict) else (file["name"] for file in files)) == sorted(FILES)
        assert client.put(f"{area}/file", data={"delete_file": "models/net.py"}).status_code == 200
        assert client.get(f"{area}/file/models/net.py/content").status_code == 404


def test_a_refused_upload_changes_nothing(client: TestClient, services: Services) -> None:
    def everything() -> list[Any]:
        with services.database.transaction(read_only=True) as session:
            files = session.execute(sa.select(AgentFile.name, AgentFile.sha256)).all()
            return [*files, *session.scalars(sa.select(Agent.status)), *session.scalars(sa.select(Deploy.id))]

    before = everything()
    uploads = [("agent.zip", content) for content in HOSTILE.values()] + [("AGENT.py", b"x"), ("../x.py", b"x")]
    for upload in uploads:
        for area in (AGENTS, SUBMISSIONS):
            answer = client.put(f"{area}/file", files={"file": upload})

            assert answer.status_code == 400, (upload, answer.text)
            assert isinstance(answer.json()["error"], str)
    assert everything() == before


def test_a_worker_lays_files_out_with_their_paths_and_imports_work(
    client: TestClient, services: Services, layers: Any
) -> None:
    client.put(f"{AGENTS}/file", files={"file": ("agent.zip", packed(FILES))})
    client.put(f"{AGENTS}/deploy")

    few = replace(services, settings=replace(services.settings, train_images=60))
    Worker(few, layers).work_once()

    found = client.get(f"{AGENTS}/status").json()
    assert found["status"] == "active", found
    log = client.get("/api/direct_attache_agents/agent/1/games").json()["games"][0]["signed_url"]
    assert client.get(log.removeprefix(services.settings.base_url)).text.splitlines()[0] == "6"


OFFICIAL = """
import pathlib, sys
import mlarena

url, token, folder = sys.argv[1:]
folder = pathlib.Path(folder)
client = mlarena.connect(token, base_url=url)
try:
    names = ("agent.py", "helper.py", "models/__init__.py", "utils/__init__.py")
    client.submit(1, files=[str(folder / name) for name in names])
    raise SystemExit("it was deployed")
except mlarena.SubmissionError as error:
    assert "models" in str(error) and 'files=["my_agent.zip"]' in str(error), error
lost = client.status()
assert lost["status"] == "upload_failed", lost
done = client.submit(1, files=[str(folder.parent / "mine.zip")])
sid = done["submission_id"]
assert client.submission_deploy_status(1, sid)["deployment_limits"]["daily_deploys_used"] == 1
print(sorted(file["name"] for file in client.list_submission_files(1, sid)["files"]))
assert client.get_submission_file_content(1, sid, "models/net.py") == "LABEL = 3\\n"
client.delete_submission(1, sid)
"""


@pytest.mark.slow
def test_the_official_client_loses_no_deployment_and_gets_its_folders_by_an_archive(
    arena: Any, python_with: Any, folder: Path
) -> None:
    (folder.parent / "mine.zip").write_bytes(packed(FILES))

    done = subprocess.run(
        [python_with("4.6.0"), "-c", OFFICIAL, arena.url, arena.token("zoe"), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == str(sorted(FILES))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    base = tmp_path / "mine"
    for path, text in (FILES | {".git/config": "x", "models/__pycache__/net.pyc": "x", ".env": "secret"}).items():
        (base / path).parent.mkdir(parents=True, exist_ok=True)
        (base / path).write_text(text)
    return base


def test_our_client_takes_a_folder_with_its_paths(folder: Path) -> None:
    assert [upload.path for upload in collect(folder)] == sorted(FILES)
    assert [upload.path for upload in collect([str(folder / "agent.py"), str(folder / "models")])] == [
        "agent.py",
        "models/__init__.py",
        "models/net.py",
    ]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["agent.py", "models/__init__.py", "utils/__init__.py"], r"two files would be called __init__.py.*files=\["),
        (["nothing.py"], "File not found"),
        ([], "no files"),
    ],
)
def test_our_client_refuses_before_anything_is_made(folder: Path, names: list[str], words: str) -> None:
    with pytest.raises(SubmissionError, match=words):
        collect([folder / name for name in names])


def test_our_client_finds_the_same_name_twice_in_an_archive(tmp_path: Path) -> None:
    archive = tmp_path / "agent.zip"
    archive.write_bytes(with_entries("agent.py", "Agent.py"))

    with pytest.raises(SubmissionError, match="same file on some systems"):
        collect(archive)
