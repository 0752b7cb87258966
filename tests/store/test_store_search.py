"""Pages of the list of episodes: every episode once, in order, along an index."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ml_trainer_env.server.store import Database, EpisodeHeader, EpisodeSummary, Journal
from ml_trainer_env.server.store.search import Order, Page, Place, Search, find_episodes, find_forks
from ml_trainer_env.server.store.tables import EPISODES

COUNT = 23


def header(name: str, **facts: Any) -> EpisodeHeader:
    start: dict[str, Any] = {"task": "easy_mnist", "seed": 1, "rubric": "v1", "data": "", "versions": {}, "rules": 3}
    return EpisodeHeader(name, **start | facts)


def facts_of(number: int) -> dict[str, Any]:
    task = ("easy_mnist", "tuning/train/1", "fleet/train/3")[number % 3]
    return {"task": task, "agent": None if number % 2 else "prober"}


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Episodes of which every second has ended. Times and scores repeat."""
    is_file = request.param == "sqlite"
    file = tmp_path_factory.mktemp("journal") / "journal.sqlite3"
    database = Database(file if is_file else request.getfixturevalue("postgresql").new_database())
    journal = Journal(database)

    async def begin() -> None:
        for number in range(COUNT):
            await journal.begin(header(f"e{number}", **facts_of(number)))
            done = number % 2 == 0
            values = {"called_at": 1000.0 + number // 4, "done": done, "score": number % 5 / 4 if done else None}
            change = sa.update(EPISODES).where(EPISODES.c.name == f"e{number}").values(values)
            await database.write(lambda connection, change=change: connection.execute(change))

    asyncio.run(begin())
    yield database
    database.close()


def page(database: Database, **search: Any) -> Page:
    return database.read_now(lambda connection: find_episodes(connection, Search(**search)))


def walk(database: Database, **search: Any) -> list[EpisodeSummary]:
    """All pages, of four episodes each."""
    found: list[Any] = []
    after: Place | None = None
    while True:
        listed = page(database, after=after, limit=4, **search)
        assert len(listed.episodes) <= 4
        found += listed.episodes
        if (after := listed.next) is None:
            return found


def key(one: EpisodeSummary, order: Order) -> float:
    return one.called_at if order in {Order.RECENT, Order.OLDEST} else one.score or 0.0


@pytest.mark.parametrize("order", Order)
def test_pages_hold_every_episode_once_and_in_order(database: Database, order: Order) -> None:
    found = walk(database, order=order)

    scored = order in {Order.BEST, Order.WORST}
    assert sorted(one.name for one in found) == sorted(f"e{n}" for n in range(COUNT) if not scored or n % 2 == 0)
    keys = [key(one, order) for one in found]
    assert keys == sorted(keys, reverse=order in {Order.RECENT, Order.BEST})


@pytest.mark.parametrize(
    ("search", "belongs"),
    [
        ({"task": "tuning/"}, lambda one: one.task.startswith("tuning/")),
        ({"within": ("fleet",)}, lambda one: one.task.startswith("fleet")),
        ({"without": ("fleet",)}, lambda one: not one.task.startswith("fleet")),
        ({"agent": "prober"}, lambda one: one.agent == "prober"),
        ({"done": True}, lambda one: one.done),
        ({"done": False, "task": "easy"}, lambda one: not one.done and one.task == "easy_mnist"),
    ],
)
def test_a_filter_lists_what_belongs_and_nothing_else(database: Database, search: dict[str, Any], belongs: Any) -> None:
    everything = walk(database)

    assert [one.name for one in walk(database, **search)] == [one.name for one in everything if belongs(one)]


@pytest.mark.parametrize("order", Order)
def test_a_page_is_read_along_an_index_and_sorts_nothing(database: Database, order: Order) -> None:
    if database.is_shared:
        pytest.skip("PostgreSQL chooses by the sizes of tables")
    statements: list[str] = []
    search = Search(order=order, after=Place(1001.0, 5), limit=4)

    def read(connection: sa.Connection) -> list[Any]:
        sa.event.listen(connection, "before_cursor_execute", lambda *given: statements.append((given[2], given[3])))
        find_episodes(connection, search)
        text, values = statements[-1]
        return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)]

    plan = database.read_now(read)

    assert any("USING INDEX episodes_by_" in step for step in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan


def test_forks_are_found_by_their_parent(database: Database) -> None:
    journal = Journal(database)

    async def fork() -> None:
        for place in ("parent", "parent@7", "parent@a", "parental@7"):
            await journal.begin(header(f"of {place}", forked_from=place))

    asyncio.run(fork())

    found = database.read_now(lambda connection: find_forks(connection, "parent", 9))
    assert found == [("of parent", "parent"), ("of parent@7", "parent@7"), ("of parent@a", "parent@a")]


def test_a_journal_from_before_agents_had_names_is_listed_and_played_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    first = Database(path)
    asyncio.run(Journal(first).begin(header("old")))
    first.close()
    with sqlite3.connect(path) as file:
        file.executescript(
            "DROP TABLE journal_version; DROP TABLE state_ledger;"
            "DROP INDEX episodes_by_call; DROP INDEX episodes_by_score; DROP INDEX episodes_by_fork;"
            "ALTER TABLE episodes DROP COLUMN agent; ALTER TABLE calls DROP COLUMN reason"
        )

    second = Database(path)
    asyncio.run(Journal(second).begin(header("new", agent="me")))
    listed = {one.name: one.agent for one in walk(second)}
    second.close()

    assert listed == {"old": None, "new": "me"}
