"""Deletes episodes by age and by size, and returns their space to the disk. Open episodes are never deleted.

An episode is open while a session of a running server plays it. An episode that is not done also stays open for a day
after its last call, so that a disconnected client can resume it. An episode of a ranked run is open until the run is
closed. Episodes are deleted in small transactions, so that servers can write in between.
"""

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from ml_trainer_env.server.store.database import Database
from ml_trainer_env.server.store.journal import lock_episode
from ml_trainer_env.server.store.objects import open_objects
from ml_trainer_env.server.store.postgresql import AdvisoryPresence
from ml_trainer_env.server.store.presence import Presence
from ml_trainer_env.server.store.ranked import names_in_open_runs
from ml_trainer_env.server.store.state_rows import delete_states, journal_name, object_name
from ml_trainer_env.server.store.statements import JournalSize, needed_keys
from ml_trainer_env.server.store.tables import CALLS, EPISODES, EPOCHS, HOLDS, STATES

__all__ = ["RESUMABLE_S", "PruneResult", "prune"]

RESUMABLE_S = 24 * 3600.0
"""How long an episode that is not done stays open after its last call."""

_FIGURES_BATCH = 1_000
_EPISODES_BATCH = 100
"""Episodes deleted in one transaction. Other writes wait for it."""


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What was deleted.

    Attributes:
        episodes: Names of the deleted episodes.
        states: Number of deleted model states, which only these episodes needed.
        bytes_before: Size of the journal before.
        bytes_after: Size of the journal after.
    """

    episodes: tuple[str, ...]
    states: int
    bytes_before: int
    bytes_after: int


class _DryRunError(Exception):
    """Rolls a transaction back."""


@dataclass(slots=True)
class _Batch:
    episodes: list[str]
    states: list[str]
    bytes_after: int


def prune(
    database: Database,
    states: Path | str,
    *,
    before: float | None = None,
    max_bytes: int | None = None,
    dry_run: bool = False,
) -> PruneResult:
    """Delete closed episodes in ascending order of their last call. Blocking.

    Args:
        database: Database of the journal.
        states: Place of the stored models; see `open_objects`.
        before: Time in seconds since 1970. Episodes last called before it, and figures of epochs last used before it,
            are deleted; None for no age limit.
        max_bytes: Size limit of the journal. First the least recently used figures of epochs are deleted, which can be
            computed again, then the oldest episodes. None for no limit.
        dry_run: Whether to only report what would be deleted.

    Raises:
        StoreError: The journal cannot be written, or the place of the models cannot be used. Earlier deletions remain.
    """
    objects = open_objects(states, database.read_now(journal_name))
    bytes_before = database.read_now(lambda connection: JournalSize(connection).bytes)
    names: list[str] = []
    deleted = 0
    while True:
        batch = _prune_batch(database, before, max_bytes, None if dry_run else _EPISODES_BATCH, dry_run)
        names += batch.episodes
        deleted += len(batch.states)
        if dry_run or not batch.episodes:
            break
        with contextlib.suppress(OSError):  # a server that starts later deletes them
            objects.delete([object_name(key) for key in batch.states])
    if not dry_run:
        database.presence.sweep()
        database.compact()
    return PruneResult(tuple(names), deleted, bytes_before, batch.bytes_after)


def _prune_batch(
    database: Database, before: float | None, max_bytes: int | None, at_most: int | None, dry_run: bool
) -> _Batch:
    """Delete some episodes in one transaction. A dry run rolls it back."""
    batches: list[_Batch] = []

    def work(connection: sa.Connection) -> _Batch:
        size = JournalSize(connection)
        if before is not None:
            connection.execute(sa.delete(EPOCHS).where(EPOCHS.c.used_at < before))
        if max_bytes is not None:
            _delete_old_figures(connection, size, max_bytes)
        batch = _Batch([], [], 0)
        for row_id, name, called_at, needed in _closed_episodes(connection, database.presence, at_most):
            is_old = before is not None and called_at < before
            is_too_much = max_bytes is not None and size.bytes > max_bytes
            if not is_old and not is_too_much:
                break
            lock_episode(connection, name)
            if _is_played(connection, database.presence, row_id):
                continue  # another server has resumed it meanwhile
            size.before_delete(EPISODES, EPISODES.c.id == row_id)
            size.before_delete(CALLS, CALLS.c.episode == row_id)
            connection.execute(sa.delete(EPISODES).where(EPISODES.c.id == row_id))
            batch.episodes.append(name)
            batch.states += _delete_unneeded_states(connection, needed)
        batch.bytes_after = size.bytes
        batches.append(batch)
        if dry_run:
            raise _DryRunError
        return batch

    with contextlib.suppress(_DryRunError):
        database.submit(work).result()
    return batches[-1]


def _is_played(connection: sa.Connection, presence: Presence | AdvisoryPresence, row_id: int) -> bool:
    """Whether a session of a running server plays an episode."""
    servers = connection.execute(sa.select(HOLDS.c.server).where(HOLDS.c.episode == row_id)).scalars().all()
    return any(map(presence.is_alive, servers))


def _delete_old_figures(connection: sa.Connection, size: JournalSize, max_bytes: int) -> None:
    """Delete the least recently used figures of epochs until the journal is within the limit."""
    while size.bytes > max_bytes:
        oldest = sa.select(EPOCHS.c.key).order_by(EPOCHS.c.used_at).limit(_FIGURES_BATCH)
        chosen = EPOCHS.c.key.in_(connection.execute(oldest).scalars().all())
        size.before_delete(EPOCHS, chosen)
        if not connection.execute(sa.delete(EPOCHS).where(chosen)).rowcount:
            return


def _closed_episodes(
    connection: sa.Connection, presence: Presence | AdvisoryPresence, at_most: int | None
) -> Iterator[tuple[int, str, float, Sequence[str]]]:
    """Yield id, name, last call and needed states of closed episodes, in ascending order of their last call."""
    servers = connection.execute(sa.select(HOLDS.c.server).distinct()).scalars().all()
    played = sa.select(HOLDS.c.episode).where(HOLDS.c.server.in_([s for s in servers if presence.is_alive(s)]))
    resumable = sa.and_(~EPISODES.c.done, EPISODES.c.called_at > time.time() - RESUMABLE_S)
    columns = (EPISODES.c.id, EPISODES.c.name, EPISODES.c.called_at, sa.type_coerce(EPISODES.c.needed, sa.Text))
    is_ranked = EPISODES.c.name.in_(names_in_open_runs())
    statement = sa.select(*columns).where(EPISODES.c.id.not_in(played), ~resumable, ~is_ranked)
    rows = connection.execute(statement.order_by(EPISODES.c.called_at, EPISODES.c.id).limit(at_most)).all()
    for row_id, name, called_at, needed in rows:
        yield row_id, name, called_at, _parse_keys(needed)


def _parse_keys(needed: str) -> list[str]:
    """Parse a list of keys that may be damaged."""
    with contextlib.suppress(ValueError):
        return [key for key in json.loads(needed) if isinstance(key, str)]
    return []


def _delete_unneeded_states(connection: sa.Connection, keys: Sequence[str]) -> list[str]:
    """Delete the rows of those states that no unfinished episode needs. Return their keys."""
    unneeded = sa.and_(STATES.c.key.in_(keys), STATES.c.key.not_in(needed_keys(connection)))
    return delete_states(connection, unneeded)
