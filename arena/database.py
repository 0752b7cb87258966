"""The database: SQLite in WAL mode or PostgreSQL, the same code for both."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import event
from sqlalchemy.orm import Session, sessionmaker

__all__ = ["Database"]

MIGRATIONS = Path(__file__).parent / "migrations"

_BUSY_S = 60.0
"""How long a transaction waits for another's, SQLite."""


class Database:
    """An engine, and transactions on it.

    Args:
        url: SQLAlchemy's. A file of SQLite is made if it is not there, with the folders above it.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        parsed = sa.make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite:
            if parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            self.engine = sa.create_engine(url, connect_args={"timeout": _BUSY_S}, pool_size=20, max_overflow=20)
            event.listen(self.engine, "connect", _set_up_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            self.engine = sa.create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=10)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    def migrate(self) -> None:
        """Bring the tables to what this version of the program needs."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self.engine.connect() as connection:
            if not self.is_sqlite:
                connection.execute(_one_at_a_time(_Lock.MIGRATION, 0))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def transaction(self, read_only: bool = False, by: int | None = None) -> Iterator[Session]:
        """A transaction: committed at the end, rolled back by an exception.

        Args:
            read_only: It will write nothing, and so need not wait for those that do (SQLite).
            by: A user. What one user changes happens one after the other, so that a limit that was checked holds.
        """
        session = self._sessions()
        try:
            session.connection(execution_options={"arena_read_only": read_only})
            if by is not None and not self.is_sqlite:
                session.execute(_one_at_a_time(_Lock.USER, by))
            yield session
            session.commit()
        except BaseException:
            session.rollback()
            raise
        finally:
            session.close()

    def try_turn(self, session: Session, user: int) -> bool:
        """Whether nothing that the user changes is under way, and until this transaction's end nothing will be."""
        if self.is_sqlite:
            return True  # there is one writer
        return bool(session.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(int(_Lock.USER), user))))

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


class _Lock(IntEnum):
    """What PostgreSQL's advisory locks are for. SQLite has one writer at a time, and needs none."""

    MIGRATION = 1
    USER = 2


def _one_at_a_time(lock: _Lock, key: int) -> sa.Select[tuple[None]]:
    return sa.select(sa.func.pg_advisory_xact_lock(int(lock), key))


def _set_up_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says
    for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {setting}")


def _begin_sqlite(connection: sa.Connection) -> None:
    """Whoever may write takes the lock at once: a transaction that read first could not get it later."""
    read_only = connection.get_execution_options().get("arena_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
