"""The database: SQLite in WAL mode or PostgreSQL, the same code for both."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
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
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def transaction(self, read_only: bool = False) -> Iterator[Session]:
        """A transaction: committed at the end, rolled back by an exception.

        Args:
            read_only: It will write nothing, and so need not wait for those that do (SQLite).
        """
        session = self._sessions()
        try:
            session.connection(execution_options={"arena_read_only": read_only})
            yield session
            session.commit()
        except BaseException:
            session.rollback()
            raise
        finally:
            session.close()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _set_up_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says
    for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {setting}")


def _begin_sqlite(connection: sa.Connection) -> None:
    """Whoever may write takes the lock at once: a transaction that read first could not get it later."""
    read_only = connection.get_execution_options().get("arena_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
