"""Work that tests would otherwise do thousands of times, with the same result each time.

    migrate_once()          # new SQLite files get the tables that the first one got from Alembic
    check_schemas_once()    # a JSON schema is valid or not, however often something is validated by it

Both change a library's or the package's function for the whole process. What the functions return stays the same.
"""

import functools
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import sqlalchemy as sa

from ml_trainer_env import databases

__all__ = ["check_schemas_once", "migrate_once"]

_TABLES = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"


def migrate_once() -> None:
    """Run Alembic's migrations of an empty SQLite file once a process, and repeat what they made after that.

    Alembic loads and runs all migrations for a tenth of a second of CPU, and some thousand tests open new files. A file
    that has tables, and a PostgreSQL database, is migrated as ever.
    """
    upgrade = databases.upgrade
    made: dict[Path, _Made] = {}

    def upgrade_once(connection: sa.Connection, migrations: Path) -> None:
        is_new = connection.dialect.name == "sqlite" and connection.exec_driver_sql(_TABLES).first() is None
        if is_new and migrations in made:
            made[migrations].repeat(connection)
            return
        connection.rollback()
        upgrade(connection, migrations)
        if is_new:
            made[migrations] = _Made.read(connection)

    databases.upgrade = upgrade_once


@dataclass(frozen=True)
class _Made:
    """What the migrations of an empty database made: SQL, and the rows of tables. A row may hold a random identity."""

    statements: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Any, ...]], ...]

    @classmethod
    def read(cls, connection: sa.Connection) -> "_Made":
        statements, rows = [], []
        for name, sql in connection.exec_driver_sql(_TABLES).all():
            statements.append(sql)
            if sql.startswith("CREATE TABLE"):
                rows += [(name, tuple(row)) for row in connection.exec_driver_sql(f'SELECT * FROM "{name}"')]
        connection.rollback()
        return cls(tuple(statements), tuple(rows))

    def repeat(self, connection: sa.Connection) -> None:
        for statement in self.statements:
            connection.exec_driver_sql(statement)
        for name, row in self.rows:
            own = tuple(uuid.uuid4().hex if _is_identity(value) else value for value in row)
            connection.exec_driver_sql(f'INSERT INTO "{name}" VALUES ({", ".join("?" * len(own))})', own)
        connection.commit()


def _is_identity(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{32}", value) is not None


def check_schemas_once() -> None:
    """Check a JSON schema against the schema of schemas once a process.

    `jsonschema.validate` does so in each call, and MCP's client and server call it for each reply of a tool.
    """
    check = jsonschema.Draft202012Validator.check_schema

    @functools.cache  # an invalid schema is not kept: it is refused each time
    def check_text(text: str) -> None:
        check(json.loads(text))

    def check_once(schema: Mapping[str, Any] | bool, **_: object) -> None:
        check_text(json.dumps(schema, sort_keys=True))

    jsonschema.Draft202012Validator.check_schema = check_once
