"""One SQLite file, written by one thread.

Many sessions write little at a time. Their writes queue up for one thread, which puts all that wait
into one transaction: a write is on disk when its future is done, and a hundred sessions share a
flush. Other processes may use the same file.
"""

import asyncio
import functools
import json
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event

from ml_trainer_env.server.store.errors import StoreError
from ml_trainer_env.server.store.tables import METADATA, SCHEMA_VERSION

__all__ = ["Database", "StoreError"]

Result = TypeVar("Result")

_BUSY_TIMEOUT_S = 60.0
"""How long a write waits for another process's."""

_CONNECTIONS = 5
"""Opened at the start and held to the end, so that load opens no more files. Whoever finds none free waits."""

_TOGETHER = 256
"""Writes in one transaction, at most."""


class Database:
    """A SQLite file in WAL mode.

    Args:
        path: The file; made if it is not there, with the folders above it.

    Raises:
        StoreError: It cannot be opened, or another version of this program made it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
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
        except (OSError, sa.exc.SQLAlchemyError) as error:
            raise StoreError(f"the journal {path} cannot be opened: {error}") from error
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
            raise StoreError(f"the journal {self.path} cannot be read: {error}") from error

    def close(self) -> None:
        """Finish the writes that wait, and close the file."""
        if not self._closed:
            self._closed = True
            self._writes.put(None)
            self._thread.join()
            self._engine.dispose()

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
        try:
            with self._engine.execution_options(writes=True).begin() as connection:
                for work, future in batch:
                    try:
                        with connection.begin_nested():
                            outcomes.append((future, work(connection), None))
                    except sa.exc.OperationalError:
                        raise
                    except Exception as error:  # the thread's boundary: whoever asked hears of it
                        outcomes.append((future, None, error))
        except Exception as error:  # nothing of the batch is on disk
            unwritten = StoreError(f"the journal {self.path} cannot be written: {error}")
            outcomes = [(future, None, unwritten) for _, future in batch]
        for future, result, failure in outcomes:
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)


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
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A writer asks for the lock at once: one that began as a reader could not wait for it.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _prepare(engine: sa.Engine, path: Path) -> None:
    """Make the tables, or see that they are ours."""
    with engine.execution_options(writes=True).begin() as connection:
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        if version not in {0, SCHEMA_VERSION}:
            raise StoreError(f"the journal {path} has layout {version}, not {SCHEMA_VERSION}: move it away")
        METADATA.create_all(connection)
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
