"""One database, many writers: what is acknowledged is on disk, and one work's failure is nobody else's."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from ml_trainer_env.server.store import Database, StoreError

NOTE = sa.text("INSERT INTO notes (text) VALUES (:text)")


def note(text: str) -> object:
    return lambda connection: connection.execute(NOTE, {"text": text})


@pytest.fixture
def notes(place: Path | str) -> Callable[[], list[str]]:
    """Returns what another reader of the database sees."""

    def read() -> list[str]:
        with contextlib.closing(Database(place)) as other:
            rows = sa.text("SELECT text FROM notes ORDER BY number")
            return other.read_now(lambda connection: list(connection.execute(rows).scalars()))

    return read


@pytest.fixture
def database(place: Path | str) -> Iterator[Database]:
    opened = Database(place)
    number = "SERIAL" if opened.is_shared else "INTEGER"
    table = f"CREATE TABLE notes (number {number} PRIMARY KEY, text TEXT UNIQUE)"
    opened.submit(lambda c: c.execute(sa.text(table))).result()
    yield opened
    opened.close()


Notes = Callable[[], list[str]]


def test_a_write_can_be_read_by_others_when_it_is_acknowledged(database: Database, notes: Notes) -> None:
    async def write() -> list[str]:
        await database.write(note("one"))  # type: ignore[arg-type]
        return notes()

    assert asyncio.run(write()) == ["one"]


def test_sqlite_waits_for_the_disk(file_database: Database) -> None:
    def settings(connection: sa.Connection) -> tuple[object, object]:
        return tuple(connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous"))  # type: ignore[return-value]

    assert file_database.submit(settings).result() == ("wal", 2)


def test_a_work_that_fails_takes_back_its_own_writes_and_no_others(database: Database, notes: Notes) -> None:
    def half(connection: sa.Connection) -> None:
        connection.execute(NOTE, {"text": "half"})
        raise ValueError("no more")

    futures = [database.submit(work) for work in (note("before"), half, note("after"), note("before"))]  # type: ignore[arg-type]

    futures[0].result()
    with pytest.raises(ValueError, match="no more"):
        futures[1].result()
    futures[2].result()
    with pytest.raises(sa.exc.IntegrityError):
        futures[3].result()
    assert notes() == ["before", "after"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_batch_runs_once_and_again_with_savepoints_if_one_of_its_writes_fails(
    database: Database, notes: Notes, fails: bool
) -> None:
    """The second note is the first again in a batch that fails: its database refuses it."""
    runs, has_begun, may_end = [], threading.Event(), threading.Event()

    def hold_up(_: sa.Connection) -> None:
        has_begun.set()
        may_end.wait()

    def counted(text: str) -> Callable[[sa.Connection], None]:
        def write(connection: sa.Connection) -> None:
            runs.append(text)
            connection.execute(NOTE, {"text": text})

        return write

    texts = ["one", "one" if fails else "two", "three"]
    database.submit(hold_up)
    has_begun.wait()
    futures = [database.submit(counted(text)) for text in texts]
    may_end.set()
    errors = [future.exception() for future in futures]

    assert [type(error) for error in errors] == [type(None), sa.exc.IntegrityError if fails else type(None), type(None)]
    assert runs == (["one", "one", *texts] if fails else texts)
    assert notes() == (["one", "three"] if fails else texts)


def test_writes_that_wait_are_finished_when_it_closes_and_later_ones_refused(database: Database, notes: Notes) -> None:
    futures = [database.submit(note(str(number))) for number in range(1000)]  # type: ignore[arg-type]
    database.close()

    assert all(future.done() for future in futures)
    assert len(notes()) == 1000
    with pytest.raises(StoreError, match="closed"):
        database.submit(note("late")).result()  # type: ignore[arg-type]


@pytest.mark.slow
def test_two_processes_write_to_one_database(database: Database, place: Path | str, notes: Notes) -> None:
    program = (
        "import sys, sqlalchemy as sa; from pathlib import Path; from ml_trainer_env.server.store import Database\n"
        "place = sys.argv[1]; database = Database(place if place.startswith('postgresql') else Path(place))\n"
        "note = sa.text('INSERT INTO notes (text) VALUES (:text)')\n"
        "work = lambda text: lambda connection: connection.execute(note, {'text': text})\n"
        "for number in range(200): database.submit(work(f'theirs {number}')).result()\n"
        "database.close()\n"
    )
    other = subprocess.Popen([sys.executable, "-c", program, str(place)])
    for number in range(200):
        database.submit(note(f"ours {number}")).result()  # type: ignore[arg-type]

    assert other.wait(60) == 0
    assert len(notes()) == 400


def test_a_file_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match=r"journal\.sqlite3 cannot be opened"):
        Database(path)

    newer = tmp_path / "newer.sqlite3"
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="has layout 99"):
        Database(newer)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted through /proc")
def test_load_opens_no_more_files(file_database: Database) -> None:
    database = file_database
    database.submit(lambda c: c.execute(sa.text("CREATE TABLE notes (text TEXT UNIQUE)"))).result()

    def read_slowly(connection: sa.Connection) -> int:
        time.sleep(0.02)
        return connection.execute(sa.text("SELECT count(*) FROM notes")).scalar_one()

    def open_files() -> int:
        found = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        return sum(str(Path(database.name)) in name for name in found)

    async def crowd(name: str) -> None:
        reads = [database.read(read_slowly) for _ in range(40)]
        await asyncio.gather(*reads, *(database.write(note(f"{name} {n}")) for n in range(40)))  # type: ignore[arg-type]

    asyncio.run(crowd("first"))
    before = open_files()
    asyncio.run(crowd("second"))

    assert (
        open_files() == before == 2 * 5 + 1
    )  # the file and its log for each connection, and the index that they share
