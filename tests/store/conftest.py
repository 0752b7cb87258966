"""Databases of the store: a SQLite file, and PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_trainer_env.server.store import Database

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
