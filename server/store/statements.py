"""The statements in which SQLite and PostgreSQL differ."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ml_trainer_env.server.store.tables import EPISODES, METADATA

__all__ = ["JournalSize", "conflict_insert", "is_number", "needed_keys"]


def conflict_insert(connection: sa.Connection, table: sa.Table) -> Any:
    """Return an INSERT that can say what happens on a conflict of keys."""
    return (postgresql.insert if _is_postgresql(connection) else sqlite.insert)(table)


def is_number(connection: sa.Connection, column: sa.Column[Any]) -> sa.ColumnElement[bool]:
    """Whether a value is a number. A damaged one of SQLite may be a text, and has no place in an order."""
    if _is_postgresql(connection):
        return column.is_not(None)
    return sa.func.typeof(column).in_(("real", "integer"))


def needed_keys(connection: sa.Connection) -> sa.Select[tuple[str]]:
    """Select the keys of the states that unfinished episodes need: current states and checkpoints."""
    needed = sa.type_coerce(EPISODES.c.needed, sa.Text)
    if _is_postgresql(connection):
        listed = sa.func.json_array_elements_text(sa.cast(needed, postgresql.JSON)).table_valued("value")
    else:
        # A damaged list counts as empty, so that the others can be read.
        sound = sa.case((sa.func.json_valid(needed) == 1, needed), else_="[]")
        listed = sa.func.json_each(sound).table_valued("value")
    return sa.select(listed.c.value).select_from(EPISODES.join(listed, sa.true())).where(~EPISODES.c.done)


class JournalSize:
    """The size of the journal in a transaction that deletes rows: SQLite's pages in use, or PostgreSQL's rows.

    PostgreSQL frees pages after the transaction, so deleted rows are subtracted. All rows are read once.

    Args:
        connection: The transaction.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._rows: int | None = None

    @property
    def bytes(self) -> int:
        """The size without free space, in bytes."""
        if not _is_postgresql(self._connection):
            figures = ("page_count", "freelist_count", "page_size")
            values = (self._connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in figures)
            pages, free, size = values
            return int((pages - free) * size)
        if self._rows is None:
            self._rows = sum(self._row_bytes(table, sa.true()) for table in METADATA.sorted_tables)
        return self._rows

    def before_delete(self, table: sa.Table, which: sa.ColumnElement[bool]) -> None:
        """Note that some rows of a table will be deleted."""
        if _is_postgresql(self._connection):
            self._rows = self.bytes - self._row_bytes(table, which)

    def _row_bytes(self, table: sa.Table, which: sa.ColumnElement[bool]) -> int:
        size = sa.func.coalesce(sa.func.sum(sa.func.pg_column_size(sa.literal_column(f"{table.name}.*"))), 0)
        return int(self._connection.execute(sa.select(size).select_from(table).where(which)).scalar_one())


def _is_postgresql(connection: sa.Connection) -> bool:
    return connection.dialect.name == "postgresql"
