"""A journal in one SQLite file, in WAL mode. Other processes of this machine may use the same file."""

import os
import sqlite3
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from ml_trainer_env.databases import configure_sqlite
from ml_trainer_env.server.store.errors import StoreError
from ml_trainer_env.server.store.migrating import migrate
from ml_trainer_env.server.store.presence import Presence

__all__ = ["SqliteFile"]

BUSY_TIMEOUT_S = 60.0
"""How long a write waits for the write of another process, and a reader for a connection."""

_CONNECTIONS = 5
"""Size of the connection pool. All are opened at the start, so that load opens no more files."""

_LAYOUT = 2
"""SQLite's `user_version` of a journal. Programs from before migrations refuse a higher one."""


class SqliteFile:
    """A SQLite file as a database of the store.

    SQLite itself continues to write to a file that was deleted, so the file is checked with each write.

    Args:
        path: The file. It is created if it is missing, with its parent folders.

    Raises:
        StoreError: The file has an unknown layout.
        OSError: The file cannot be opened.
        SQLAlchemyError: The file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.engine = _engine(path)
        try:
            with self.engine.execution_options(writes=True).connect() as connection:
                _check_layout(connection, path)
                migrate(connection, self.name)
        except BaseException:
            self.engine.dispose()
            raise
        with ExitStack() as held:
            for _ in range(_CONNECTIONS):
                # SQLite opens its files at the first read.
                held.enter_context(self.engine.connect()).exec_driver_sql("PRAGMA user_version")
        self._files = {file: _identity_of(file) for file in (path, Path(f"{path}-wal")) if file.exists()}
        self.presence = Presence(path.parent / "servers")

    def require_same(self) -> None:
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
                    f"the journal {self.name} was deleted or replaced while this server ran; start the server again"
                )

    def require_writable(self) -> None:
        """Check that the file is writable. An open file stays writable, but the next server could not write it.

        Raises:
            StoreError: The file or its folder is read-only.
        """
        for place in (self._path, self._path.parent):
            if not os.access(place, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
                raise StoreError(f"the journal {self.name} cannot be written: {place} is read-only")

    def try_write(self, connection: sa.Connection) -> None:
        """Write the layout unchanged, to find out whether the file can be written."""
        connection.exec_driver_sql(f"PRAGMA user_version = {_LAYOUT}")

    def compact(self) -> None:
        """Return free space in the file to the disk. Other writes wait until it is done."""
        connection = self.engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute("VACUUM")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            connection.close()

    def may_repeat(self, error: sa.exc.OperationalError) -> bool:
        """Whether a transaction that failed may succeed if it is repeated at once: never."""
        return False


def _check_layout(connection: sa.Connection, path: Path) -> None:
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if not 0 <= version <= _LAYOUT:
        raise StoreError(f"the journal {path} has layout {version}, not {_LAYOUT}: move it away")
    if version != _LAYOUT:
        connection.exec_driver_sql(f"PRAGMA user_version = {_LAYOUT}")
    connection.commit()


def _identity_of(file: Path) -> tuple[int, int]:
    """Return device and inode of a file."""
    found = file.stat()
    return found.st_dev, found.st_ino


def _text(value: bytes) -> str:
    """Decode text. Damaged text does not raise here; its reader checks it."""
    return value.decode("utf-8", "surrogateescape")


def _engine(path: Path) -> sa.Engine:
    engine = sa.create_engine(
        f"sqlite:///{path}",
        connect_args={"timeout": BUSY_TIMEOUT_S},
        pool_size=_CONNECTIONS,
        max_overflow=0,
        pool_timeout=BUSY_TIMEOUT_S,
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _: object) -> None:
        connection.text_factory = _text
        configure_sqlite(connection)

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A writer takes the lock at once. A transaction that begins as a reader cannot wait for it later.
        writes: Any = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
