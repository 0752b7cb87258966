"""Migrations come to the tables of the program, on both databases, and lose nothing on the way."""

import contextlib
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from ml_trainer_env.server.store import Database, StoreError
from ml_trainer_env.server.store import migrating as migrating_module
from ml_trainer_env.server.store.tables import METADATA, REVISION, VERSION_TABLE


def test_migrations_come_to_the_tables_of_the_program(place: Path | str) -> None:
    with contextlib.closing(Database(place)) as database:
        options = {"version_table": VERSION_TABLE}
        found = database.read_now(
            lambda connection: compare_metadata(MigrationContext.configure(connection, opts=options), METADATA)
        )

    assert found == []


def test_the_program_knows_its_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrating_module.__file__).parent / "migrations"))

    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def test_a_database_of_a_newer_program_is_refused(place: Path | str) -> None:
    with contextlib.closing(Database(place)) as database:
        newer = sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
        database.submit(lambda connection: connection.execute(newer)).result()

    with pytest.raises(StoreError, match=r"has revision 9999, and this program knows \d+: use a newer program"):
        Database(place)


def test_a_file_from_before_migrations_is_adopted_with_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    Database(path).close()
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.executescript(
            f"DROP TABLE {VERSION_TABLE}; DROP TABLE state_ledger; DROP TABLE exports;"
            "ALTER TABLE episodes DROP COLUMN rules;"
            "INSERT INTO states VALUES ('key', 1, 'digest', 0.0); PRAGMA user_version = 1"
        )

    with contextlib.closing(Database(path)) as database:
        states = database.read_now(lambda c: c.exec_driver_sql("SELECT key FROM states").scalars().all())
        columns = database.read_now(lambda c: {column["name"] for column in sa.inspect(c).get_columns("episodes")})

    assert states == ["key"]
    assert "rules" in columns


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://host/name", "in PostgreSQL .* not in mysql"),
        ("nonsense", "cannot be read"),
        ("postgresql://nobody:secret@127.0.0.1:1/none", r"nobody:\*\*\*@127.0.0.1:1/none cannot be opened"),
    ],
)
def test_a_database_that_is_not_there_is_refused_and_its_password_is_not_told(url: str, words: str) -> None:
    with pytest.raises(StoreError, match=words) as refusal:
        Database(url)

    assert "secret" not in str(refusal.value)
