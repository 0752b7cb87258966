"""One SQLite file, many writers: what is acknowledged is on disk, and one work's failure is nobody else's."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from ml_trainer_env.server.store import Database, StoreError

NOTE = sa.text("INSERT INTO notes VALUES (:text)")


def note(text: str) -> object:
    return lambda connection: connection.execute(NOTE, {"text": text})


def notes(path: Path) -> list[str]:
    """What another reader of the file sees."""
    with sqlite3.connect(path) as connection:
        found = [row[0] for row in connection.execute("SELECT text FROM notes ORDER BY rowid")]
    connection.close()
    return found


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "folder" / "journal.sqlite3")
    opened.submit(lambda c: c.execute(sa.text("CREATE TABLE notes (text TEXT UNIQUE)"))).result()
    yield opened
    opened.close()


def test_a_write_can_be_read_by_others_when_it_is_acknowledged(database: Database) -> None:
    async def write() -> list[str]:
        await database.write(note("one"))  # type: ignore[arg-type]
        return notes(database.path)

    assert asyncio.run(write()) == ["one"]


def test_it_waits_for_the_disk(database: Database) -> None:
    def settings(connection: sa.Connection) -> tuple[object, object]:
        return tuple(connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous"))  # type: ignore[return-value]

    assert database.submit(settings).result() == ("wal", 2)


def test_a_work_that_fails_takes_back_its_own_writes_and_no_others(database: Database) -> None:
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
    assert notes(database.path) == ["before", "after"]


def test_writes_that_wait_are_finished_when_it_closes_and_later_ones_refused(database: Database) -> None:
    futures = [database.submit(note(str(number))) for number in range(1000)]  # type: ignore[arg-type]
    database.close()

    assert all(future.done() for future in futures)
    assert len(notes(database.path)) == 1000
    with pytest.raises(StoreError, match="closed"):
        database.submit(note("late")).result()  # type: ignore[arg-type]


def test_two_processes_write_to_one_file(database: Database) -> None:
    program = (
        "import sys, sqlalchemy as sa; from pathlib import Path; from ml_trainer_env.server.store import Database\n"
        "database = Database(Path(sys.argv[1]))\n"
        "note = sa.text('INSERT INTO notes VALUES (:text)')\n"
        "work = lambda text: lambda connection: connection.execute(note, {'text': text})\n"
        "for number in range(200): database.submit(work(f'theirs {number}')).result()\n"
        "database.close()\n"
    )
    other = subprocess.Popen([sys.executable, "-c", program, str(database.path)])
    for number in range(200):
        database.submit(note(f"ours {number}")).result()  # type: ignore[arg-type]

    assert other.wait(60) == 0
    assert len(notes(database.path)) == 400


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
def test_load_opens_no_more_files(database: Database) -> None:
    def read_slowly(connection: sa.Connection) -> int:
        time.sleep(0.02)
        return connection.execute(sa.text("SELECT count(*) FROM notes")).scalar_one()

    def open_files() -> int:
        found = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        return sum(str(database.path) in name for name in found)

    async def crowd(name: str) -> None:
        reads = [database.read(read_slowly) for _ in range(40)]
        await asyncio.gather(*reads, *(database.write(note(f"{name} {n}")) for n in range(40)))  # type: ignore[arg-type]

    asyncio.run(crowd("first"))
    before = open_files()
    asyncio.run(crowd("second"))

    assert (
        open_files() == before == 2 * 5 + 1
    )  # the file and its log for each connection, and the index that they share
