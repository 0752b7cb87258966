"""The database: SQLite in WAL mode, or PostgreSQL. The same code serves both."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import Session, sessionmaker

from ml_trainer_env.databases import POSTGRESQL_OPTIONS, configure_sqlite, upgrade

__all__ = ["Database"]

MIGRATIONS = Path(__file__).parent / "migrations"

_BUSY_S = 60.0
"""How long an SQLite transaction waits for the write lock."""


class Database:
    """An engine and its transactions.

    Args:
        url: SQLAlchemy URL. A missing SQLite file is created, with its parent folders.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        parsed = sa.make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite:
            if parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            self.engine = sa.create_engine(url, connect_args={"timeout": _BUSY_S}, pool_size=20, max_overflow=20)
            event.listen(self.engine, "connect", _configure_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            self.engine = sa.create_engine(url, **POSTGRESQL_OPTIONS, pool_size=10, max_overflow=10)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    def migrate(self) -> None:
        """Upgrade the tables to the schema of this version."""
        with self.engine.connect() as connection:
            upgrade(connection, MIGRATIONS)

    @contextmanager
    def transaction(self, read_only: bool = False, by: int | None = None) -> Iterator[Session]:
        """Open a transaction. It is committed at the end of the block, and rolled back after an exception.

        Args:
            read_only: The transaction writes nothing. In SQLite it then does not wait for writers.
            by: Id of the user who makes the change. Changes of one user run one at a time, so that a limit that was
                checked stays valid until the commit.
        """
        session = self._sessions()
        try:
            session.connection(execution_options={"arena_read_only": read_only})
            if by is not None and not self.is_sqlite:
                session.execute(_acquire_lock(_Lock.USER, by))
            yield session
            session.commit()
        except BaseException:
            session.rollback()
            raise
        finally:
            session.close()

    def try_user_lock(self, session: Session, user: int) -> bool:
        """Try to lock the changes of a user until the end of this transaction. Returns whether it succeeded."""
        if self.is_sqlite:
            return True  # SQLite has one writer at a time
        return bool(session.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(int(_Lock.USER), user))))

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


class _Lock(IntEnum):
    """Purposes of PostgreSQL's advisory locks. SQLite has one writer at a time and needs no such locks.

    1 is that of migrations, in `ml_trainer_env.databases`.
    """

    USER = 2


def _acquire_lock(lock: _Lock, key: int) -> sa.Select[tuple[None]]:
    return sa.select(sa.func.pg_advisory_xact_lock(int(lock), key))


def _configure_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    configure_sqlite(connection)


def _begin_sqlite(connection: sa.Connection) -> None:
    """Take the write lock at the start of a transaction. A transaction that reads first may fail to get it later."""
    read_only = connection.get_execution_options().get("arena_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
