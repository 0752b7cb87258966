"""What the databases of the server and of the arena share: SQLite's connections, PostgreSQL's, and migrations."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

__all__ = ["POSTGRESQL_OPTIONS", "configure_sqlite", "upgrade"]

POSTGRESQL_OPTIONS: Mapping[str, Any] = {
    "pool_pre_ping": True,  # the database server may have been restarted since a connection was used
    # A host that disappears without a word is noticed after about a minute.
    "connect_args": {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3},
}
"""Options of an engine for PostgreSQL."""

_MIGRATION_LOCK = (1, 0)
"""PostgreSQL's advisory lock of whoever migrates."""


def configure_sqlite(connection: sqlite3.Connection) -> None:
    """Prepare a new connection: write-ahead log, flushed commits, foreign keys. The caller begins transactions."""
    connection.isolation_level = None  # the driver would begin transactions too late for savepoints
    for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {setting}")


def upgrade(connection: sa.Connection, migrations: Path) -> None:
    """Run Alembic's migrations up to the newest one, and commit. One process at a time migrates.

    Args:
        connection: A connection without a transaction.
        migrations: Alembic's folder, whose `env.py` uses the attribute `connection`.

    Raises:
        CommandError: The database has a revision that the folder does not know.
        SQLAlchemyError: A migration failed. Nothing was changed.
    """
    # Late imports: they take a quarter of a second, and a database that is up to date needs no migration.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(*_MIGRATION_LOCK)))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
