"""Deletes episodes by age and by bytes, never one that is open, and gives their space back to the disk.

An episode is open while a session of a running server plays it, and, if it is not done, for a day after its last call:
whoever lost its connection may still come back to it. Servers may write meanwhile: episodes go a few at a time.
"""

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from ml_trainer_env.server.store.database import Database
from ml_trainer_env.server.store.presence import Presence
from ml_trainer_env.server.store.states import STATES_FOLDER, needed_keys, state_path
from ml_trainer_env.server.store.tables import EPISODES, EPOCHS, HOLDS, STATES

__all__ = ["RESUMABLE_S", "PruneResult", "prune"]

RESUMABLE_S = 24 * 3600.0
"""An episode that is not done counts as open for so long after its last call."""

_FIGURES_TOGETHER = 1_000
_TOGETHER = 100
"""Episodes deleted in one transaction: others wait meanwhile."""


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What was deleted.

    Attributes:
        episodes: Names of the episodes.
        states: How many models that only they needed.
        bytes_before: What the journal came to.
        bytes_after: What it comes to now.
    """

    episodes: tuple[str, ...]
    states: int
    bytes_before: int
    bytes_after: int


class _DryRunError(Exception):
    """Takes a transaction back."""


@dataclass(slots=True)
class _Batch:
    episodes: list[str]
    states: list[str]
    bytes_after: int


def prune(
    database: Database,
    *,
    before: float | None = None,
    max_bytes: int | None = None,
    dry_run: bool = False,
) -> PruneResult:
    """Delete episodes that are not open, the one called first first. Blocking.

    Args:
        database: The journal's.
        before: Delete those that were last called before then, in seconds since 1970, and the figures of epochs that
            were not used since; None for none.
        max_bytes: Delete until the journal comes to no more, as far as that is possible: first the figures of epochs
            not used for longest, which can be made again, then the oldest episodes. None for any size.
        dry_run: Whether to delete nothing and tell what would be deleted.

    Raises:
        StoreError: The journal cannot be written. What was deleted before that stays deleted.
    """
    bytes_before = database.read_now(_size)
    folder = database.path.parent / STATES_FOLDER
    names: list[str] = []
    states = 0
    while True:
        batch = _pruned(database, before, max_bytes, None if dry_run else _TOGETHER, dry_run)
        names += batch.episodes
        states += len(batch.states)
        if dry_run or not batch.episodes:
            break
        for key in batch.states:
            with contextlib.suppress(OSError):
                state_path(folder, key).unlink()
    if not dry_run:
        database.presence.sweep()
        database.compact()
    return PruneResult(tuple(names), states, bytes_before, batch.bytes_after)


def _pruned(
    database: Database, before: float | None, max_bytes: int | None, at_most: int | None, dry_run: bool
) -> _Batch:
    """Delete some episodes in one transaction."""
    told: list[_Batch] = []

    def work(connection: sa.Connection) -> _Batch:
        if before is not None:
            connection.execute(sa.delete(EPOCHS).where(EPOCHS.c.used_at < before))
        if max_bytes is not None:
            _forget_figures(connection, max_bytes)
        batch = _Batch([], [], 0)
        for identity, name, called_at, needed in _closed(connection, database.presence, at_most):
            is_old = before is not None and called_at < before
            is_too_much = max_bytes is not None and _size(connection) > max_bytes
            if not is_old and not is_too_much:
                break
            connection.execute(sa.delete(EPISODES).where(EPISODES.c.id == identity))
            batch.episodes.append(name)
            batch.states += _dropped(connection, needed)
        batch.bytes_after = _size(connection)
        told.append(batch)
        if dry_run:
            raise _DryRunError
        return batch

    with contextlib.suppress(_DryRunError):
        database.submit(work).result()
    return told[0]


def _forget_figures(connection: sa.Connection, max_bytes: int) -> None:
    """Delete figures of the epochs that were not used for longest, until the journal comes to no more than that."""
    while _size(connection) > max_bytes:
        eldest = sa.select(EPOCHS.c.key).order_by(EPOCHS.c.used_at).limit(_FIGURES_TOGETHER)
        if not connection.execute(sa.delete(EPOCHS).where(EPOCHS.c.key.in_(eldest))).rowcount:
            return


def _closed(
    connection: sa.Connection, presence: Presence, at_most: int | None
) -> Iterator[tuple[int, str, float, Sequence[str]]]:
    """The episodes that are not open, the one called first first: id, name, last call, and the states it needs."""
    servers = connection.execute(sa.select(HOLDS.c.server).distinct()).scalars().all()
    played = sa.select(HOLDS.c.episode).where(HOLDS.c.server.in_([s for s in servers if presence.is_alive(s)]))
    resumable = sa.and_(~EPISODES.c.done, EPISODES.c.called_at > time.time() - RESUMABLE_S)
    columns = (EPISODES.c.id, EPISODES.c.name, EPISODES.c.called_at, sa.type_coerce(EPISODES.c.needed, sa.Text))
    statement = sa.select(*columns).where(EPISODES.c.id.not_in(played), ~resumable)
    rows = connection.execute(statement.order_by(EPISODES.c.called_at, EPISODES.c.id).limit(at_most)).all()
    for identity, name, called_at, needed in rows:
        yield identity, name, called_at, _keys(needed)


def _keys(needed: str) -> list[str]:
    """The keys in a list that may be damaged."""
    with contextlib.suppress(ValueError):
        return [key for key in json.loads(needed) if isinstance(key, str)]
    return []


def _dropped(connection: sa.Connection, keys: Sequence[str]) -> list[str]:
    """Strike out the states among some that no unfinished episode needs. Returns their keys."""
    unneeded = sa.and_(STATES.c.key.in_(keys), STATES.c.key.not_in(needed_keys()))
    dropped = list(connection.execute(sa.select(STATES.c.key).where(unneeded)).scalars())
    connection.execute(sa.delete(STATES).where(STATES.c.key.in_(dropped)))
    return dropped


def _size(connection: sa.Connection) -> int:
    """Bytes that the journal comes to, without the space of what was deleted."""
    figures = ("page_count", "freelist_count", "page_size")
    pages, free, size = (connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in figures)
    return int((pages - free) * size)
