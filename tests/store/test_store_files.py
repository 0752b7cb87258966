"""A write is acknowledged only while the next server will find it: the files are looked at before each answer."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from ml_trainer_env.server.store import Database, StoreError

NOTE = sa.text("INSERT INTO notes VALUES ('kept')")
NOBODY = 65534


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "state" / "journal.sqlite3")
    opened.submit(lambda c: c.execute(sa.text("CREATE TABLE notes (text TEXT)"))).result()
    yield opened
    opened.close()


def write(database: Database) -> None:
    database.submit(lambda connection: connection.execute(NOTE)).result()


def replace_by_a_copy(path: Path) -> None:
    copy = path.with_suffix(".copy")
    shutil.copy(path, copy)
    os.replace(copy, path)


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.unlink(),
        lambda path: shutil.rmtree(path.parent),
        lambda path: path.parent.rename(path.parent.with_name("elsewhere")),
        replace_by_a_copy,
        lambda path: Path(f"{path}-wal").unlink(),
    ],
    ids=["file deleted", "folder deleted", "folder moved", "file replaced", "log deleted"],
)
def test_a_journal_that_is_gone_acknowledges_nothing_more(database: Database, harm: Callable[[Path], None]) -> None:
    write(database)
    assert database.trouble is None
    harm(Path(database.name))

    for _ in range(2):
        with pytest.raises(StoreError, match="was deleted or replaced while this server ran; start the server again"):
            write(database)
    assert "deleted or replaced" in str(database.trouble)


def test_a_journal_that_goes_while_it_is_written_acknowledges_nothing(database: Database) -> None:
    def write_and_delete(connection: sa.Connection) -> None:
        connection.execute(NOTE)
        Path(database.name).unlink()

    with pytest.raises(StoreError, match="deleted or replaced"):
        database.submit(write_and_delete).result()


@pytest.fixture
def somebody() -> Iterator[Path]:
    """A folder of a user who is not root, as whom the test runs."""
    folder = Path(tempfile.mkdtemp())
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    yield folder
    os.seteuid(os.getuid())
    shutil.rmtree(folder)


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_journal_that_is_made_read_only_acknowledges_nothing_until_it_may_be_written(
    somebody: Path, place: str
) -> None:
    database = Database(somebody / "journal.sqlite3")
    try:
        database.submit(lambda c: c.execute(sa.text("CREATE TABLE notes (text TEXT)"))).result()
        harmed = Path(database.name) if place == "file" else somebody
        mode = harmed.stat().st_mode
        harmed.chmod(0o555)
        with pytest.raises(StoreError, match=r"cannot be written: .* is read-only"):
            write(database)
        trouble = database.trouble
        harmed.chmod(mode)
        write(database)
        after = database.trouble
    finally:
        database.close()

    assert "read-only" in str(trouble)
    assert after is None
    with sqlite3.connect(somebody / "journal.sqlite3") as connection:
        assert connection.execute("SELECT count(*) FROM notes").fetchone() == (1,)
    connection.close()


def test_a_write_that_failed_is_trouble_until_writing_goes_well_again(database: Database) -> None:
    large = sa.text("INSERT INTO notes VALUES (zeroblob(1000000))")
    with ExitStack() as held:
        for _ in range(5):  # every connection there is: the file may grow no further, as on a disk that is full
            held.enter_context(database._engine.connect()).exec_driver_sql("PRAGMA max_page_count = 1")
    with pytest.raises(StoreError, match=r"cannot be written: database or disk is full"):
        database.submit(lambda connection: connection.execute(large)).result()
    first = database.trouble
    database.submit(lambda _: None).result()

    assert "disk is full" in str(first)
    assert "\n" not in str(first)
    assert database.trouble is None


def test_damage_within_the_file_is_told_as_such_and_costs_nobody_else_a_write(database: Database) -> None:
    def damaged(_: sa.Connection) -> None:
        raise sa.exc.DatabaseError("SELECT", {}, sqlite3.DatabaseError("database disk image is malformed"))

    futures = [database.submit(work) for work in (damaged, lambda connection: connection.execute(NOTE))]

    with pytest.raises(StoreError, match=r"cannot be written: database disk image is malformed$"):
        futures[0].result()
    futures[1].result()


def test_a_query_is_streamed(database: Database) -> None:
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
    rows = f"{numbers} INSERT INTO notes SELECT i FROM n"
    database.submit(lambda connection: connection.exec_driver_sql(rows)).result()

    assert sum(1 for _ in database.stream(sa.select(sa.column("text")).select_from(sa.table("notes")))) == 5000
