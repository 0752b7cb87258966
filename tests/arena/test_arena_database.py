"""The database: migrations come to what the program's tables say, and lose nothing on the way."""

import contextlib
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from ml_trainer_env.arena.database import MIGRATIONS, Database
from ml_trainer_env.arena.leaderboard.service import board_query
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.tables import Base


def test_migrations_come_to_the_tables_of_the_program(services: Services) -> None:
    with services.database.engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    # Of an index with a direction SQLite's names are not compared; the plan below shows that it is there.
    assert [one for one in found if "attached_agent_board" not in str(one)] == []


def test_the_board_comes_in_the_order_of_its_index(services: Services) -> None:
    if not services.database.is_sqlite:
        pytest.skip("PostgreSQL chooses by the sizes of tables")
    query = board_query(1).limit(50).compile(services.database.engine, compile_kwargs={"literal_binds": True})
    with services.database.transaction(read_only=True) as session:
        plan = [row[3] for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]

    assert "USING INDEX attached_agent_board" in plan[0]
    assert not [step for step in plan if "TEMP B-TREE" in step]


def test_what_an_earlier_version_wrote_is_there_after_a_migration(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    engine = sa.create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql("INSERT INTO user (id, name, created_at) VALUES (1, 'ada', 0)")
        connection.exec_driver_sql(
            "INSERT INTO competition (id, creator_id, name, kernel, description, markdown, is_public, is_started, "
            "settings, created_at) VALUES (1, 1, 'x', 'permuted_mnist', '', '', 1, 1, '{}', 0)"
        )
        connection.exec_driver_sql(
            "INSERT INTO attached_agent (id, competition_id, user_id, name, is_benchmark, status, last_status_message, "
            "files_ok, created_at, mean_reward, rewards, scored_deploy_id) "
            "VALUES (1, 1, 1, 'old', 0, 'active', '', 1, 0, 0.5, '[0.5]', 1)"
        )
        connection.commit()
    engine.dispose()

    with contextlib.closing(Database(url)) as database:
        database.migrate()
        with database.transaction(read_only=True) as session:
            ((agent, user),) = session.execute(board_query(1)).all()

    assert (agent.name, agent.rewards, agent.final_rewards, user) == ("old", [0.5], [], "ada")


def test_services_that_start_at_once_make_one_database_and_one_key(services: Services) -> None:
    others = [Services.open(services.settings) for _ in range(3)]

    assert {other.key for other in others} == {services.key}
    for other in others:
        other.close()


def test_the_database_answers_while_another_writes(services: Services) -> None:
    with services.database.transaction() as writing:
        writing.execute(sa.text("UPDATE deploy SET attempt = attempt"))
        with services.database.transaction(read_only=True) as session:
            assert session.scalar(sa.text("SELECT count(*) FROM deploy")) == 0
