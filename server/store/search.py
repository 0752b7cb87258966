"""Pages of the list of episodes, and one episode with its summary. For surfaces: no query reads the whole journal."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from ml_trainer_env.server.store.journal import load_episode
from ml_trainer_env.server.store.listing import DamagedEpisode, EpisodeSummary, summary_columns, summary_from_row
from ml_trainer_env.server.store.records import JournaledEpisode
from ml_trainer_env.server.store.statements import is_number
from ml_trainer_env.server.store.tables import EPISODES

__all__ = ["Order", "Page", "Place", "Search", "find_episodes", "find_forks", "load_recording"]

_LAST_CHARACTER = "\U0010ffff"


class Order(StrEnum):
    """The order of a list of episodes."""

    RECENT = "recent"
    """The latest call first."""

    OLDEST = "oldest"
    """The earliest last call first."""

    BEST = "best"
    """The highest score first. Episodes without a score are left out."""

    WORST = "worst"
    """The lowest score first. Episodes without a score are left out."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in an ordered list: the value and the id of an episode."""

    value: float
    id: int


@dataclass(frozen=True, slots=True)
class Search:
    """Which episodes a page lists. None means any.

    Attributes:
        task: The beginning of the task's id.
        within: Beginnings of the ids of all tasks that are listed. Empty for all.
        without: Beginnings of the ids of tasks that are left out.
        agent: The agent's name.
        done: Whether the episode has ended.
        order: The order.
        after: The place after which the page begins. None for the beginning.
        limit: Largest number of episodes.
    """

    task: str | None = None
    within: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    agent: str | None = None
    done: bool | None = None
    order: Order = Order.RECENT
    after: Place | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list.

    Attributes:
        episodes: The episodes, in their order.
        next: The place where the next page begins. None if this is the last page.
    """

    episodes: tuple[EpisodeSummary | DamagedEpisode, ...]
    next: Place | None


def find_episodes(connection: sa.Connection, search: Search) -> Page:
    """Return a page of episodes.

    It reads along an index of the order, so a page costs the same wherever it is in a long list.
    """
    key = EPISODES.c.score if search.order in {Order.BEST, Order.WORST} else EPISODES.c.called_at
    falls = search.order in {Order.RECENT, Order.BEST}
    columns = (*summary_columns(), EPISODES.c.id.label("row_id"), key.label("row_key"))
    statement: sa.Select[Any] = sa.select(*columns).where(*_conditions(search), is_number(connection, key))
    if search.after is not None:
        here, there = sa.tuple_(key, EPISODES.c.id), sa.tuple_(search.after.value, search.after.id)
        statement = statement.where(here < there if falls else here > there)
    order = (key.desc(), EPISODES.c.id.desc()) if falls else (key, EPISODES.c.id)
    rows = connection.execute(statement.order_by(*order).limit(search.limit + 1)).mappings().all()
    shown = rows[: search.limit]
    is_last = len(rows) <= search.limit or not shown
    following = None if is_last else Place(float(shown[-1]["row_key"]), int(shown[-1]["row_id"]))
    return Page(tuple(map(summary_from_row, shown)), following)


def find_forks(connection: sa.Connection, name: str, limit: int) -> list[tuple[str, str]]:
    """Return the forks of an episode: the name of each, and where it was forked. At most `limit`."""
    from_it = sa.or_(EPISODES.c.forked_from == name, _begins(EPISODES.c.forked_from, f"{name}@"))
    statement = sa.select(EPISODES.c.name, EPISODES.c.forked_from).where(from_it).order_by(EPISODES.c.id).limit(limit)
    return [(str(fork), str(place)) for fork, place in connection.execute(statement)]


def load_recording(
    connection: sa.Connection, name: str, after: int = 0
) -> tuple[EpisodeSummary | DamagedEpisode, JournaledEpisode]:
    """Return an episode: its summary, and its calls after call number `after`.

    Raises:
        NoSuchEpisodeError: No episode has that name.
        DamagedError: A row of the episode is damaged.
    """
    row_id, journaled = load_episode(connection, name, after)
    row = connection.execute(sa.select(*summary_columns()).where(EPISODES.c.id == row_id)).mappings().one()
    return summary_from_row(row), journaled


def _conditions(search: Search) -> list[sa.ColumnElement[bool]]:
    task = EPISODES.c.task
    found: list[sa.ColumnElement[bool]] = [~_begins(task, text) for text in search.without]
    if search.within:
        found.append(sa.or_(*(_begins(task, text) for text in search.within)))
    if search.task is not None:
        found.append(_begins(task, search.task))
    if search.agent is not None:
        found.append(EPISODES.c.agent == search.agent)
    if search.done is not None:
        found.append(EPISODES.c.done.is_(search.done))
    return found


def _begins(column: sa.Column[Any], text: str) -> sa.ColumnElement[bool]:
    """Whether a text begins with another. Unlike LIKE, it minds the case and can use an index."""
    return sa.and_(column >= text, column < text + _LAST_CHARACTER)
