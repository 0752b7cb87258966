"""One SQLite file, written by one thread.

Many sessions write little at a time. Their writes queue up for one thread, which puts all that wait
into one transaction: a write is on disk when its future is done, and a hundred sessions share a
flush. Other processes may use the same file.
"""

import asyncio
import functools
import json
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event

from ml_trainer_env.server.store.errors import StoreError
from ml_trainer_env.server.store.presence import Presence
from ml_trainer_env.server.store.tables import ADDED_COLUMNS, METADATA, SCHEMA_VERSION

__all__ = ["Database", "StoreError"]

Result = TypeVar("Result")

_BUSY_TIMEOUT_S = 60.0
"""How long a write waits for another process's."""

_CONNECTIONS = 5
"""Opened at the start and held to the end, so that load opens no more files. Whoever finds none free waits."""

_STREAMED_TOGETHER = 500
"""Rows of a query in memory at a time."""

_TOGETHER = 256
"""Writes in one transaction, at most."""


class Database:
    """A SQLite file in WAL mode.

    A write is acknowledged only while the file is still there and may be written: SQLite itself goes on writing into
    a file that was deleted.

    Args:
        path: The file; made if it is not there, with the folders above it.

    Raises:
        StoreError: It cannot be opened, or another version of this program made it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.presence = Presence(path.parent / "servers")
        self._writes: queue.SimpleQueue[tuple[Callable[[sa.Connection], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._closed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._engine = _engine(path)
            _prepare(self._engine, path)
            with ExitStack() as held:
                for _ in range(_CONNECTIONS):
                    # Reading something makes SQLite open its files.
                    held.enter_context(self._engine.connect()).exec_driver_sql("PRAGMA user_version")
            self._files = {file: _identity_of(file) for file in (path, Path(f"{path}-wal")) if file.exists()}
        except (OSError, sa.exc.SQLAlchemyError) as error:
            raise StoreError(f"the journal {path} cannot be opened: {_reason(error)}") from error
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._serve, name="journal-writer", daemon=True)
        self._thread.start()

    async def write(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Do some work in a transaction; on return it is on disk.

        Raises:
            StoreError: It could not be written, and nothing of it was.
            Exception: What `work` raised; nothing of it was written.
        """
        return await asyncio.wrap_future(self.submit(work))

    def submit(self, work: Callable[[sa.Connection], Result]) -> "Future[Result]":
        """As `write`, from any thread; the future is done when the work is on disk."""
        future: Future[Result] = Future()
        if self._closed:
            future.set_exception(StoreError("the journal is closed"))
        else:
            future.set_running_or_notify_cancel()
            self._writes.put((work, future))
        return future

    async def read(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Do some reading, in a thread."""
        return await asyncio.to_thread(self.read_now, work)

    def read_now(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Do some reading in this thread."""
        try:
            with self._engine.connect() as connection:
                return work(connection)
        except sa.exc.SQLAlchemyError as error:
            raise StoreError(f"the journal {self.path} cannot be read: {_reason(error)}") from error

    def stream(self, statement: "sa.Select[Any]") -> Iterator[sa.RowMapping]:
        """The rows of a query, a few hundred in memory at a time. Blocking.

        Raises:
            StoreError: They cannot be read.
        """
        try:
            with self._engine.connect() as connection:
                yield from connection.execution_options(yield_per=_STREAMED_TOGETHER).execute(statement).mappings()
        except sa.exc.SQLAlchemyError as error:
            raise StoreError(f"the journal {self.path} cannot be read: {_reason(error)}") from error

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written, in words; None if it can, as far as is known.

        After a write that failed, being asked tries again.
        """
        try:
            self._require_same_files()
            self._require_writable()
        except StoreError as error:
            return str(error)
        failure = self._failure
        if failure is not None and self._writes.empty():
            self.submit(_write_the_same)
        return failure

    def compact(self) -> None:
        """Give the space of what was deleted back to the disk. Others wait meanwhile before they can write.

        Raises:
            StoreError: It could not be done, for want of room perhaps. Nothing is lost.
        """
        try:
            connection = self._engine.raw_connection()
            try:
                cursor = connection.cursor()
                cursor.execute("VACUUM")
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                connection.close()
        except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
            raise StoreError(f"the journal {self.path} cannot be made smaller: {_reason(error)}") from error

    def close(self) -> None:
        """Finish the writes that wait, and close the file."""
        if not self._closed:
            self._closed = True
            self._writes.put(None)
            self._thread.join()
            self._engine.dispose()
            self.presence.close()

    def _serve(self) -> None:
        while (first := self._writes.get()) is not None:
            batch, last = [first], False
            while len(batch) < _TOGETHER and not self._writes.empty():
                following = self._writes.get()
                if following is None:
                    last = True
                    break
                batch.append(following)
            self._commit(batch)
            if last:
                return

    def _commit(self, batch: list[tuple[Callable[[sa.Connection], Any], Future[Any]]]) -> None:
        """Do a batch of works in one transaction, each undone by itself if it fails."""
        outcomes: list[tuple[Future[Any], Any, BaseException | None]] = []
        nothing_written: str | None = None
        try:
            self._require_same_files()
            self._require_writable()
            with self._engine.execution_options(writes=True).begin() as connection:
                for work, future in batch:
                    try:
                        with connection.begin_nested():
                            outcomes.append((future, work(connection), None))
                    except sa.exc.OperationalError:
                        raise
                    except Exception as error:  # the thread's boundary: whoever asked hears of it
                        outcomes.append((future, None, self._told(error)))
            self._require_same_files()
        except Exception as error:  # nothing of the batch is on disk
            unwritten = error if isinstance(error, StoreError) else self._unwritten(error)
            nothing_written = str(unwritten)
            outcomes = [(future, None, unwritten) for _, future in batch]
        self._failure = nothing_written
        for future, result, failure in outcomes:
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)

    def _require_same_files(self) -> None:
        """See that the files that SQLite has open are those that the next server will find.

        Raises:
            StoreError: They are not.
        """
        for file, identity in self._files.items():
            try:
                is_the_same = _identity_of(file) == identity
            except OSError:
                is_the_same = False
            if not is_the_same:
                raise StoreError(
                    f"the journal {self.path} was deleted or replaced while this server ran; start the server again"
                )

    def _require_writable(self) -> None:
        """See that the file may be written. Who has it open may go on writing; the next server could not.

        Raises:
            StoreError: It may not.
        """
        for place in (self.path, self.path.parent):
            if not os.access(place, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
                raise StoreError(f"the journal {self.path} cannot be written: {place} is read-only")

    def _told(self, error: Exception) -> Exception:
        """What whoever asked for a work is told of its failure: damage in the file is not a mistake of theirs."""
        return self._unwritten(error) if type(error) is sa.exc.DatabaseError else error

    def _unwritten(self, error: Exception) -> StoreError:
        return StoreError(f"the journal {self.path} cannot be written: {_reason(error)}")


def _write_the_same(connection: sa.Connection) -> None:
    """Write, and change nothing: a newer program may have made another layout of the file meanwhile."""
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    connection.exec_driver_sql(f"PRAGMA user_version = {version}")


def _identity_of(file: Path) -> tuple[int, int]:
    """Which file a path leads to."""
    found = file.stat()
    return found.st_dev, found.st_ino


def _reason(error: Exception) -> str:
    """An error in one line, without the library's advertisement.

    Where one error led to another, the first is the reason: on a full disk SQLite ends the transaction, and then
    there is no savepoint to go back to.
    """
    first: BaseException = (error.orig or error) if isinstance(error, sa.exc.DBAPIError) else error
    link: BaseException | None = error
    while link is not None:
        first = link if isinstance(link, sqlite3.Error | OSError) else first
        link = link.__context__
    return str(first).partition("\n")[0]


def _text(value: bytes) -> str:
    """Text of the file, which may be damaged: then what reads it finds out."""
    return value.decode("utf-8", "surrogateescape")


def _engine(path: Path) -> sa.Engine:
    engine = sa.create_engine(
        f"sqlite:///{path}",
        connect_args={"timeout": _BUSY_TIMEOUT_S},
        pool_size=_CONNECTIONS,
        max_overflow=0,
        pool_timeout=_BUSY_TIMEOUT_S,
        # Callers in this process may pass what no JSON holds; it is refused, and written down as it reads.
        json_serializer=functools.partial(json.dumps, default=repr),
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        # The driver's own transactions begin too late for savepoints: we begin them ourselves.
        connection.isolation_level = None
        connection.text_factory = _text
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A writer asks for the lock at once: one that began as a reader could not wait for it.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _prepare(engine: sa.Engine, path: Path) -> None:
    """Make the tables, or bring those of an earlier version up to date."""
    with engine.execution_options(writes=True).begin() as connection:
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        if not 0 <= version <= SCHEMA_VERSION:
            raise StoreError(f"the journal {path} has layout {version}, not {SCHEMA_VERSION}: move it away")
        METADATA.create_all(connection)
        for table, column, declaration in ADDED_COLUMNS:
            known = {row[1] for row in connection.exec_driver_sql(f"PRAGMA table_info({table})")}
            if column not in known:
                connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {column} {declaration}")
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
