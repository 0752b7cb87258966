"""The database of a journal, with one writer thread: a SQLite file, or PostgreSQL.

Many sessions make small writes. The writer thread commits all queued writes in one transaction, so a hundred sessions
share one flush. A write is on disk when its future is done. Other processes may use the same database.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from ml_trainer_env.server.store.errors import StoreError
from ml_trainer_env.server.store.postgresql import PostgresqlDatabase
from ml_trainer_env.server.store.sqlite import SqliteFile

__all__ = ["Database", "StoreError"]

Result = TypeVar("Result")

_STREAMED_ROWS = 500
"""Rows of a streamed query in memory at a time."""

_MAX_BATCH = 256
"""Largest number of writes in one transaction."""

_ATTEMPTS = 5
"""How often a transaction is tried that loses against those of other servers."""

_Work = Callable[[sa.Connection], Any]
_Outcome = tuple[Any, Exception | None]
"""Result and error of a write."""


class _FailedWriteError(Exception):
    """A write of a transaction failed.

    Args:
        error: The error for its caller.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Database:
    """A SQLite file in WAL mode, or a PostgreSQL database. Tables of an earlier version are migrated.

    A write fails if the file was deleted or is read-only.

    Args:
        place: The file, or the URL of a PostgreSQL database, `postgresql://...`. A file is created if it is missing,
            with its parent folders.

    Attributes:
        name: The path, or the URL without its password.
        is_shared: Whether servers of several machines can use it.
        presence: Which servers of the database are alive.

    Raises:
        StoreError: The database cannot be opened, or a newer program wrote it.
    """

    def __init__(self, place: Path | str) -> None:
        self._writes: queue.SimpleQueue[tuple[Callable[[sa.Connection], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._closed = False
        self.is_shared = isinstance(place, str)
        self.name = _postgresql_url(place).render_as_string() if isinstance(place, str) else str(place)
        try:
            self._backend = PostgresqlDatabase(_postgresql_url(place)) if isinstance(place, str) else SqliteFile(place)
        except (OSError, sa.exc.SQLAlchemyError) as error:
            raise StoreError(f"the journal {self.name} cannot be opened: {_reason(error)}") from error
        self.presence = self._backend.presence
        self._engine = self._backend.engine
        self._writing = self._engine.execution_options(writes=True)
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
            raise StoreError(f"the journal {self.name} cannot be read: {_reason(error)}") from error

    def stream(self, statement: "sa.Select[Any]") -> Iterator[sa.RowMapping]:
        """Yield the rows of a query. Blocking; a few hundred rows are in memory at a time.

        Raises:
            StoreError: The rows cannot be read.
        """
        try:
            with self._engine.connect() as connection:
                yield from connection.execution_options(yield_per=_STREAMED_ROWS).execute(statement).mappings()
        except sa.exc.SQLAlchemyError as error:
            raise StoreError(f"the journal {self.name} cannot be read: {_reason(error)}") from error

    @property
    def trouble(self) -> str | None:
        """Why writes fail, as a message; None if no write is known to fail.

        After a failed write, this submits another attempt. A PostgreSQL database is always tried, since it may be out
        of reach; the next call then tells.
        """
        try:
            self._backend.require_same()
            self._backend.require_writable()
        except StoreError as error:
            return str(error)
        failure = self._failure
        if (failure is not None or self.is_shared) and self._writes.empty():
            self.submit(self._backend.try_write)
        return failure

    def compact(self) -> None:
        """Return the space of deleted rows: a file's to the disk, PostgreSQL's to later writes.

        Raises:
            StoreError: Compaction failed, for example on a full disk. Nothing is lost.
        """
        try:
            self._backend.compact()
        except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
            raise StoreError(f"the journal {self.name} cannot be made smaller: {_reason(error)}") from error

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
        nothing_written: str | None = None
        try:
            outcomes = self._run_batch([work for work, _ in batch])
        except Exception as error:  # no write of the batch is on disk
            unwritten = error if isinstance(error, StoreError) else self._write_error(error)
            nothing_written = str(unwritten)
            outcomes = [(None, unwritten)] * len(batch)
        self._failure = nothing_written
        for (_, future), (result, failure) in zip(batch, outcomes, strict=True):
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)

    def _run_batch(self, works: Sequence[_Work]) -> list[_Outcome]:
        """Commit a batch, and return result or error of each write. Raises if nothing was written.

        Writes rarely fail, so a batch first runs without savepoints, which would be a third of its statements. If a
        write fails, the batch is rolled back and runs again with a savepoint for each write.
        """
        try:
            return self._run_transaction(works, lambda connection, work: (work(connection), None))
        except _FailedWriteError as failed:
            if len(works) == 1:
                return [(None, failed.error)]
        return self._run_transaction(works, self._run_write)

    def _run_transaction(
        self, works: Sequence[_Work], run: Callable[[sa.Connection, _Work], _Outcome]
    ) -> list[_Outcome]:
        """Commit a transaction. It is tried several times if it loses against those of other servers.

        Raises:
            _FailedWriteError: A write raised an error. Nothing was written.
            Exception: Nothing was written.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._backend.require_same()
                self._backend.require_writable()
                with self._writing.begin() as connection:
                    outcomes = [self._run_one(connection, work, run) for work in works]
                self._backend.require_same()
                return outcomes
            except sa.exc.OperationalError as error:
                if attempt == _ATTEMPTS or not self._backend.may_repeat(error):
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _run_one(
        self, connection: sa.Connection, work: _Work, run: Callable[[sa.Connection, _Work], _Outcome]
    ) -> _Outcome:
        try:
            return run(connection, work)
        except sa.exc.OperationalError:
            raise
        except Exception as error:  # boundary of the thread: the caller gets the error
            raise _FailedWriteError(self._translate_error(error)) from error

    def _run_write(self, connection: sa.Connection, work: _Work) -> _Outcome:
        """Run a write in a savepoint, so that it is rolled back alone if it fails."""
        try:
            with connection.begin_nested():
                return work(connection), None
        except sa.exc.OperationalError:
            raise
        except Exception as error:  # boundary of the thread: the caller gets the error
            return None, self._translate_error(error)

    def _translate_error(self, error: Exception) -> Exception:
        """Return the error for the caller of a failed write. Damage in the file becomes a StoreError."""
        return self._write_error(error) if type(error) is sa.exc.DatabaseError else error

    def _write_error(self, error: Exception) -> StoreError:
        return StoreError(f"the journal {self.name} cannot be written: {_reason(error)}")


def _postgresql_url(text: str) -> sa.URL:
    """Return SQLAlchemy's URL of a PostgreSQL database.

    Raises:
        StoreError: It is no such URL.
    """
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise StoreError("the URL of the journal's database cannot be read: postgresql://user@host/name") from error
    if url.drivername not in {"postgresql", "postgresql+psycopg"}:
        raise StoreError(f"the journal is in PostgreSQL (postgresql://user@host/name), not in {url.drivername}")
    return url.set(drivername="postgresql+psycopg")


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
