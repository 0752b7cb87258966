"""Streams lists of episodes, which may be larger than memory. Blocking, for commands."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ml_trainer_env.server.store.damage import check_value, raw_column
from ml_trainer_env.server.store.database import Database
from ml_trainer_env.server.store.tables import CALLS, EPISODES, EXPORTS

__all__ = [
    "DamagedEpisode",
    "EpisodeSummary",
    "Filter",
    "list_episodes",
    "list_names",
    "summary_columns",
    "summary_from_row",
]


@dataclass(frozen=True, slots=True)
class EpisodeSummary:
    """Summary of an episode, for a list.

    Attributes:
        exported: Whether it was exported, and goes on where its file is imported.
    """

    name: str
    task: str
    seed: int
    rubric: str
    epochs: int
    calls: int
    done: bool
    score: float | None
    forked_from: str | None
    agent: str | None
    begun_at: float
    called_at: float
    exported: bool = False


@dataclass(frozen=True, slots=True)
class DamagedEpisode:
    """An episode whose row is damaged.

    Attributes:
        name: Its name, which may be damaged too.
        reason: Message that says what is damaged.
    """

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Filter:
    """Selects episodes.

    Attributes:
        task: Id of the task; None for all tasks.
        since: Earliest last call, in seconds since 1970; None for no limit.
    """

    task: str | None = None
    since: float | None = None

    def apply(self, statement: "sa.Select[Any]") -> "sa.Select[Any]":
        """Restrict a statement to the selected episodes."""
        if self.task is not None:
            statement = statement.where(EPISODES.c.task == self.task)
        if self.since is not None:
            statement = statement.where(EPISODES.c.called_at >= self.since)
        return statement


_KINDS: Mapping[str, Any] = {
    "name": str,
    "task": str,
    "seed": int,
    "rubric": str,
    "epochs": int,
    "done": bool,
    "score": float | int | None,
    "forked_from": str | None,
    "agent": str | None,
    "begun_at": float | int,
    "called_at": float | int,
}


def list_episodes(
    database: Database, chosen: Filter = Filter(), limit: int | None = None
) -> Iterator[EpisodeSummary | DamagedEpisode]:
    """Yield episodes in descending order of their last call.

    Args:
        database: Database of the journal.
        chosen: Which episodes.
        limit: Largest number of episodes; None for all.

    Raises:
        StoreError: The journal cannot be read.
    """
    statement: sa.Select[Any] = sa.select(*summary_columns())
    statement = chosen.apply(statement).order_by(EPISODES.c.called_at.desc(), EPISODES.c.id.desc()).limit(limit)
    for row in database.stream(statement):
        yield summary_from_row(row)


def list_names(database: Database, chosen: Filter = Filter()) -> Iterator[str]:
    """Yield the names of episodes in ascending order of their last call."""
    statement = chosen.apply(sa.select(EPISODES.c.name)).order_by(EPISODES.c.called_at, EPISODES.c.id)
    for row in database.stream(statement):
        yield str(row["name"])


def summary_columns() -> "tuple[sa.Label[Any], ...]":
    """Return the columns that `summary_from_row` reads."""
    calls = sa.select(sa.func.count()).where(CALLS.c.episode == EPISODES.c.id, ~CALLS.c.inherited).scalar_subquery()
    exported = sa.exists().where(EXPORTS.c.episode == EPISODES.c.id).label("exported")
    return (*(raw_column(EPISODES.c[name]) for name in _KINDS), calls.label("calls"), exported)


def summary_from_row(row: sa.RowMapping) -> EpisodeSummary | DamagedEpisode:
    """Return the summary of an episode, or what is damaged in it."""
    try:
        fields = {name: check_value(name, row[name], kind) for name, kind in _KINDS.items()}
    except ValueError as error:
        return DamagedEpisode(str(row["name"]), str(error))
    return EpisodeSummary(**fields, calls=row["calls"], exported=bool(row["exported"]))
