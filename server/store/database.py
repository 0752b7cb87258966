"""One SQLite file with one writer thread.

Many sessions make small writes. The writer thread commits all queued writes in one transaction, so a hundred sessions
share one flush. A write is on disk when its future is done. Other processes may use the same file.
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
from ml_trainer_env.server.store.tables import ADDED_COLUMNS, INDEXES, METADATA, SCHEMA_VERSION

__all__ = ["Database", "StoreError"]

Result = TypeVar("Result")

_BUSY_TIMEOUT_S = 60.0
"""How long a write waits for the write of another process."""

_CONNECTIONS = 5
"""Size of the connection pool. All are opened at the start, so that load opens no more files."""

_STREAMED_ROWS = 500
"""Rows of a streamed query in memory at a time."""

_MAX_BATCH = 256
"""Largest number of writes in one transaction."""


class Database:
    """A SQLite file in WAL mode.

    A write fails if the file was deleted or is read-only. SQLite itself continues to write to a deleted file.

    Args:
        path: The file. It is created if it is missing, with its parent folders.

    Raises:
        StoreError: The file cannot be opened, or has an unknown schema version.
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
                    # SQLite opens its files at the first read.
                    held.enter_context(self._engine.connect()).exec_driver_sql("PRAGMA user_version")
            self._files = {file: _identity_of(file) for file in (path, Path(f"{path}-wal")) if file.exists()}
        except (OSError, sa.exc.SQLAlchemyError) as error:
            raise StoreError(f"the journal {path} cannot be opened: {_reason(error)}") from error
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._run_writer, name="journal-writer", daemon=True)
        self._thread.start()

    async def write(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Run a function in a transaction. On return the transaction is on disk.

        Raises:
            StoreError: The write failed. Nothing was written.
            Exception: `work` raised it. Nothing was written.
        """
        return await asyncio.wrap_future(self.submit(work))

    def submit(self, work: Callable[[sa.Connection], Result]) -> "Future[Result]":
        """Like `write`, from any thread. The future is done when the transaction is on disk."""
        future: Future[Result] = Future()
        if self._closed:
            future.set_exception(StoreError("the journal is closed"))
        else:
            future.set_running_or_notify_cancel()
            self._writes.put((work, future))
        return future

    async def read(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Run a reading function in a thread."""
        return await asyncio.to_thread(self.read_now, work)

    def read_now(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Run a reading function in this thread."""
        try:
            with self._engine.connect() as connection:
                return work(connection)
        except sa.exc.SQLAlchemyError as error:
            raise StoreError(f"the journal {self.path} cannot be read: {_reason(error)}") from error

    def stream(self, statement: "sa.Select[Any]") -> Iterator[sa.RowMapping]:
        """Yield the rows of a query. Blocking; a few hundred rows are in memory at a time.

        Raises:
            StoreError: The rows cannot be read.
        """
        try:
            with self._engine.connect() as connection:
                yield from connection.execution_options(yield_per=_STREAMED_ROWS).execute(statement).mappings()
        except sa.exc.SQLAlchemyError as error:
            raise StoreError(f"the journal {self.path} cannot be read: {_reason(error)}") from error

    @property
    def trouble(self) -> str | None:
        """Why writes fail, as a message; None if no write is known to fail.

        After a failed write, this submits another attempt.
        """
        try:
            self._require_same_files()
            self._require_writable()
        except StoreError as error:
            return str(error)
        failure = self._failure
        if failure is not None and self._writes.empty():
            self.submit(_rewrite_version)
        return failure

    def compact(self) -> None:
        """Return free space in the file to the disk. Other writes wait until it is done.

        Raises:
            StoreError: Compaction failed, for example on a full disk. Nothing is lost.
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
        """Finish the queued writes and close the file."""
        if not self._closed:
            self._closed = True
            self._writes.put(None)
            self._thread.join()
            self._engine.dispose()
            self.presence.close()

    def _run_writer(self) -> None:
        while (first := self._writes.get()) is not None:
            batch, last = [first], False
            while len(batch) < _MAX_BATCH and not self._writes.empty():
                following = self._writes.get()
                if following is None:
                    last = True
                    break
                batch.append(following)
            self._commit(batch)
            if last:
                return

    def _commit(self, batch: list[tuple[Callable[[sa.Connection], Any], Future[Any]]]) -> None:
        """Run a batch of writes in one transaction. A failed write is rolled back alone."""
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
                    except Exception as error:  # boundary of the thread: the caller gets the error
                        outcomes.append((future, None, self._translate_error(error)))
            self._require_same_files()
        except Exception as error:  # no write of the batch is on disk
            unwritten = error if isinstance(error, StoreError) else self._write_error(error)
            nothing_written = str(unwritten)
            outcomes = [(future, None, unwritten) for _, future in batch]
        self._failure = nothing_written
        for future, result, failure in outcomes:
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)

    def _require_same_files(self) -> None:
        """Check that the paths still lead to the files that SQLite has open.

        Raises:
            StoreError: A file was deleted or replaced.
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
        """Check that the file is writable. An open file stays writable, but the next server could not write it.

        Raises:
            StoreError: The file or its folder is read-only.
        """
        for place in (self.path, self.path.parent):
            if not os.access(place, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
                raise StoreError(f"the journal {self.path} cannot be written: {place} is read-only")

    def _translate_error(self, error: Exception) -> Exception:
        """Return the error for the caller of a failed write. Damage in the file becomes a StoreError."""
        return self._write_error(error) if type(error) is sa.exc.DatabaseError else error

    def _write_error(self, error: Exception) -> StoreError:
        return StoreError(f"the journal {self.path} cannot be written: {_reason(error)}")


def _rewrite_version(connection: sa.Connection) -> None:
    """Write the schema version unchanged. A newer program may have raised it."""
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    connection.exec_driver_sql(f"PRAGMA user_version = {version}")


def _identity_of(file: Path) -> tuple[int, int]:
    """Return device and inode of a file."""
    found = file.stat()
    return found.st_dev, found.st_ino


def _reason(error: Exception) -> str:
    """Return the first line of the original error, without the link that SQLAlchemy appends.

    Later errors of a chain mislead: on a full disk SQLite ends the transaction, and its savepoint no longer exists.
    """
    first: BaseException = (error.orig or error) if isinstance(error, sa.exc.DBAPIError) else error
    link: BaseException | None = error
    while link is not None:
        first = link if isinstance(link, sqlite3.Error | OSError) else first
        link = link.__context__
    return str(first).partition("\n")[0]


def _text(value: bytes) -> str:
    """Decode text. Damaged text does not raise here; its reader checks it."""
    return value.decode("utf-8", "surrogateescape")


def _engine(path: Path) -> sa.Engine:
    engine = sa.create_engine(
        f"sqlite:///{path}",
        connect_args={"timeout": _BUSY_TIMEOUT_S},
        pool_size=_CONNECTIONS,
        max_overflow=0,
        pool_timeout=_BUSY_TIMEOUT_S,
        # Callers in this process may pass values that JSON cannot hold. Such calls are refused and recorded by `repr`.
        json_serializer=functools.partial(json.dumps, default=repr),
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        # The driver begins transactions too late for savepoints, so `_begin` does it.
        connection.isolation_level = None
        connection.text_factory = _text
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A writer takes the lock at once. A transaction that begins as a reader cannot wait for it later.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _prepare(engine: sa.Engine, path: Path) -> None:
    """Create the tables, or migrate those of an earlier version."""
    with engine.execution_options(writes=True).begin() as connection:
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        if not 0 <= version <= SCHEMA_VERSION:
            raise StoreError(f"the journal {path} has layout {version}, not {SCHEMA_VERSION}: move it away")
        METADATA.create_all(connection)
        for table, column, declaration in ADDED_COLUMNS:
            known = {row[1] for row in connection.exec_driver_sql(f"PRAGMA table_info({table})")}
            if column not in known:
                connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {column} {declaration}")
        for index in INDEXES:
            index.create(connection, checkfirst=True)
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
