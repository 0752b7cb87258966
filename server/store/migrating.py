"""Brings the tables of a database to the newest revision."""

from pathlib import Path

import sqlalchemy as sa

from ml_trainer_env.databases import upgrade
from ml_trainer_env.server.store.errors import StoreError
from ml_trainer_env.server.store.tables import REVISION, VERSION_TABLE

__all__ = ["migrate"]

_MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(connection: sa.Connection, name: str) -> None:
    """Bring the tables to the newest revision, and commit.

    Args:
        connection: A connection that may write.
        name: Name of the database, for messages.

    Raises:
        StoreError: A newer program wrote the tables.
        SQLAlchemyError: A migration failed. Nothing was changed.
    """
    revision = None
    if sa.inspect(connection).has_table(VERSION_TABLE):
        version = sa.table(VERSION_TABLE, sa.column("version_num"))
        revision = connection.execute(sa.select(version.c.version_num)).scalar()
    if revision is not None and revision > REVISION:
        raise StoreError(
            f"the journal {name} has revision {revision}, and this program knows {REVISION}: use a newer program, or "
            "another journal"
        )
    connection.rollback()
    if revision != REVISION:
        upgrade(connection, _MIGRATIONS)
