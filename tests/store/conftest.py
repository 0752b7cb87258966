"""Databases of the store, a SQLite file and PostgreSQL; and places of states, folders and a bucket."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_trainer_env.server.store import Database
from ml_trainer_env.server.store import objects as objects_module

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]


@pytest.fixture(params=BOTH)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """The place of an empty database."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgresql").new_database())
    return tmp_path / "folder" / "journal.sqlite3"


@pytest.fixture
def file_database(tmp_path: Path) -> Iterator[Database]:
    """A SQLite file."""
    opened = Database(tmp_path / "folder" / "journal.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a place in an empty bucket of a server on this machine, which a busy machine may make slow."""
    s3 = request.getfixturevalue("s3")
    for name, value in s3.variables.items():
        monkeypatch.setenv(name, value)
    for limit in ("_CONNECT_LIMIT_S", "_REQUEST_LIMIT_S"):
        monkeypatch.setattr(objects_module, limit, 250.0)
    return f"s3://{s3.new_bucket()}/models"


@pytest.fixture(params=["folder", "shared folder", pytest.param("bucket", marks=pytest.mark.slow)])
def states_place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """An empty place of states: a server's own folder, one that a URL names, and a bucket."""
    if request.param == "bucket":
        return str(request.getfixturevalue("bucket"))
    return tmp_path / "states" if request.param == "folder" else (tmp_path / "shared").as_uri()
