"""The journal: records every episode, and every call before its reply is sent.

It contains no rules of a game. Replaying the calls of an episode recreates the episode.
"""

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from ml_trainer_env.errors import MLTrainerError
from ml_trainer_env.server.store.damage import raw_column
from ml_trainer_env.server.store.database import Database
from ml_trainer_env.server.store.errors import StoreError
from ml_trainer_env.server.store.listing import EpisodeSummary, list_episodes
from ml_trainer_env.server.store.postgresql import AdvisoryPresence
from ml_trainer_env.server.store.presence import Presence
from ml_trainer_env.server.store.ranked import RankedRun, begin_task, is_ranked_name, require_resumable
from ml_trainer_env.server.store.records import CallRecord, EpisodeHeader, JournaledEpisode
from ml_trainer_env.server.store.rows import call_from_row, call_to_row, header_from_row, header_to_row
from ml_trainer_env.server.store.tables import CALLS, EPISODES, EXPORTS, HOLDS, WITHHELD
from ml_trainer_env.server.store.units import record_units
from ml_trainer_env.server.trainer.limits import shown

__all__ = [
    "EpisodeExportedError",
    "EpisodeTakenError",
    "Journal",
    "NameTakenError",
    "NoSuchEpisodeError",
    "Ownership",
    "insert_episode",
    "load_episode",
    "lock_episode",
]


class EpisodeTakenError(MLTrainerError):
    """Another session took the episode over."""


class EpisodeExportedError(MLTrainerError):
    """The episode was exported, and goes on where its file is imported."""


class NoSuchEpisodeError(MLTrainerError, LookupError):
    """No episode has that name."""


class NameTakenError(MLTrainerError):
    """Another episode with epochs has that name."""


@dataclass(frozen=True, slots=True)
class Ownership:
    """The right to append to an episode. It ends when another session takes the episode over."""

    episode: int
    token: str


class Journal:
    """All episodes of a state folder.

    While a session plays an episode, its server has a *hold* on it. A hold is valid while the server is alive. A held
    episode is not pruned, and its name is reserved while its first epochs are trained.

    Args:
        database: Database of the episodes.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._presence = database.presence

    async def begin(
        self, header: EpisodeHeader, inherited: Sequence[CallRecord] = (), ranked: RankedRun | None = None
    ) -> Ownership:
        """Record a new episode and return its ownership.

        Args:
            header: Its initial facts.
            inherited: Calls of the episode that it was forked from.
            ranked: The ranked run that the episode belongs to. Its task is then begun for ever.

        Raises:
            RankedRunError: The ranked run does not allow the episode.
            NameTakenError: An episode of that name has epochs, or trains its first one.
            StoreError: The journal cannot be written.
        """

        def write(connection: sa.Connection) -> Ownership:
            _free_name(connection, header.name, self._presence)
            if ranked is not None:
                begin_task(connection, ranked, header.task, header.name)
            token, now = uuid.uuid4().hex, time.time()
            row = {
                **header_to_row(header),
                "owner": token,
                "begun_at": now,
                "called_at": now,
                "epochs": sum(len(call.units) for call in inherited),
                "needed": [],
            }
            row_id = insert_episode(connection, row)
            rows = [
                call_to_row(row_id, number, replace(call, inherited=True)) for number, call in enumerate(inherited, 1)
            ]
            if rows:
                connection.execute(sa.insert(CALLS), rows)
            return self._take_hold(connection, Ownership(row_id, token))

        return await self.database.write(write)

    async def reserve(self, ownership: Ownership) -> None:
        """Reserve the name of an episode before its first epoch is trained.

        Raises:
            EpisodeTakenError: Another session took the episode over, or replaced it by another of its name.
            StoreError: The journal cannot be written.
        """

        def write(connection: sa.Connection) -> None:
            ours = sa.and_(HOLDS.c.episode == ownership.episode, HOLDS.c.owner == ownership.token)
            if connection.execute(sa.update(HOLDS).where(ours).values(training=True)).rowcount != 1:
                raise EpisodeTakenError("another session has taken this episode over")

        await self.database.write(write)

    def release(self, ownership: Ownership) -> None:
        """Release the hold on an episode. Does not block; callable from any thread."""
        ours = sa.and_(HOLDS.c.episode == ownership.episode, HOLDS.c.owner == ownership.token)
        self.database.submit(lambda connection: connection.execute(sa.delete(HOLDS).where(ours)))

    async def append(
        self, ownership: Ownership, call: CallRecord, needed: Sequence[str], frees_name: bool = False
    ) -> None:
        """Record a call. On return it is on disk.

        Args:
            ownership: Ownership from `begin` or `take_over`.
            call: The call.
            needed: Keys of the states that the episode may continue from.
            frees_name: Whether to end the reservation of the name.

        Raises:
            EpisodeTakenError: Another session took the episode over. Nothing was written.
            StoreError: The journal cannot be written.
        """

        def write(connection: sa.Connection) -> None:
            last = sa.select(sa.func.coalesce(sa.func.max(CALLS.c.number), 0))
            last = last.where(CALLS.c.episode == ownership.episode)
            ours = sa.and_(EPISODES.c.id == ownership.episode, EPISODES.c.owner == ownership.token)
            changes: dict[str, Any] = {"called_at": call.at, "epochs": EPISODES.c.epochs + len(call.units)}
            if call.reached:
                changes["needed"] = list(needed)
            if call.reply is not None and call.reply.get("done"):
                changes |= {"done": True, "score": call.reply.get("score")}
            if connection.execute(sa.update(EPISODES).where(ours).values(changes)).rowcount != 1:
                exported = connection.execute(_export_of(ownership.episode)).first()
                raise EpisodeTakenError(
                    "this episode was exported" if exported else "another session has taken this episode over"
                )
            if frees_name:
                held = HOLDS.c.owner == ownership.token
                connection.execute(sa.update(HOLDS).where(held).values(training=False))
            number = connection.execute(last).scalar_one() + 1
            connection.execute(sa.insert(CALLS).values(call_to_row(ownership.episode, number, call)))
            if call.withheld is not None:
                row = {"episode": ownership.episode, "number": number, "figures": dict(call.withheld)}
                connection.execute(sa.insert(WITHHELD).values(row))
            record_units(connection, [unit.figures for unit in call.units if not unit.from_cache])

        await self.database.write(write)

    async def take_over(self, name: str) -> tuple[Ownership, JournaledEpisode]:
        """Take the ownership of an episode, and read it.

        Raises:
            NoSuchEpisodeError: No episode has that name.
            EpisodeExportedError: The episode was exported.
            StoreError: The journal cannot be read or written.
        """

        def write(connection: sa.Connection) -> tuple[Ownership, JournaledEpisode]:
            lock_episode(connection, name)
            row_id, episode = load_episode(connection, name)
            if connection.execute(_export_of(row_id)).first() is not None:
                raise EpisodeExportedError(
                    f"episode {shown(name)} was exported and goes on where its file is imported; to go on with it "
                    "here, import the file here"
                )
            ownership = Ownership(row_id, uuid.uuid4().hex)
            connection.execute(sa.update(EPISODES).where(EPISODES.c.id == row_id).values(owner=ownership.token))
            return self._take_hold(connection, ownership), episode

        return await self.database.write(write)

    def _take_hold(self, connection: sa.Connection, ownership: Ownership) -> Ownership:
        """Record the hold of this server on an episode. Replaces any other hold.

        Raises:
            StoreError: The lock file of the server cannot be locked.
        """
        try:
            server = self._presence.server
        except OSError as error:
            raise StoreError(f"the server cannot take a lock of its own beside the journal: {error}") from error
        connection.execute(sa.delete(HOLDS).where(HOLDS.c.episode == ownership.episode))
        row = {"episode": ownership.episode, "owner": ownership.token, "server": server}
        connection.execute(sa.insert(HOLDS).values(**row, training=False))
        return ownership

    async def require_resumable(self, name: str, ranked: RankedRun) -> None:
        """Check that an episode may be resumed in a ranked run.

        Raises:
            RankedRunError: It may not.
            StoreError: The journal cannot be read.
        """
        await self.database.read(lambda connection: require_resumable(connection, ranked, name))

    async def load(self, name: str) -> JournaledEpisode:
        """Read an episode.

        Raises:
            NoSuchEpisodeError: No episode has that name.
            StoreError: The journal cannot be read.
        """
        return await self.database.read(lambda connection: load_episode(connection, name)[1])

    async def episodes(self) -> list[EpisodeSummary]:
        """Return the undamaged episodes, the latest call first. For small journals; see `listing` for large ones."""
        listed = await asyncio.to_thread(lambda: list(list_episodes(self.database)))
        return [line for line in listed if isinstance(line, EpisodeSummary)]


def _export_of(row_id: int) -> sa.Select[tuple[float]]:
    """Return a query of the last export of an episode, which has no row if it goes on here."""
    return sa.select(EXPORTS.c.at).where(EXPORTS.c.episode == row_id)


def _free_name(connection: sa.Connection, name: str, presence: Presence | AdvisoryPresence) -> None:
    """Delete an episode of that name that has no epochs.

    Raises:
        NameTakenError: It has epochs, or trains its first one, or belongs to a ranked run.
    """
    if is_ranked_name(connection, name):
        raise NameTakenError(f"there is an episode {name!r} of a ranked run: choose another episode_id")
    named = sa.select(EPISODES.c.id, EPISODES.c.epochs).where(EPISODES.c.name == name).with_for_update()
    known = connection.execute(named).first()
    if known is None:
        return
    if known.epochs:
        raise NameTakenError(
            f"there is an episode {name!r} with {known.epochs} epochs: go on with it by resume=true, "
            "or choose another episode_id"
        )
    training = sa.select(HOLDS.c.server).where(HOLDS.c.episode == known.id, HOLDS.c.training)
    # Locked, so that another server's reservation comes before this or is refused.
    connection.execute(sa.select(HOLDS.c.server).where(HOLDS.c.episode == known.id).with_for_update())
    if any(map(presence.is_alive, connection.execute(training).scalars())):
        raise NameTakenError(
            f"there is an episode {name!r} whose first epochs are being trained: go on with it by resume=true, "
            "or choose another episode_id"
        )
    connection.execute(sa.delete(EPISODES).where(EPISODES.c.id == known.id))


def lock_episode(connection: sa.Connection, name: str) -> int | None:
    """Lock an episode until the end of the transaction, and return the id of its row. None if there is none.

    What another server writes to it is then there, or waits. SQLite has one writer at a time and needs no lock.
    """
    if not _is_storable(name):
        return None
    return connection.execute(sa.select(EPISODES.c.id).where(EPISODES.c.name == name).with_for_update()).scalar()


def insert_episode(connection: sa.Connection, row: Mapping[str, Any]) -> int:
    """Insert an episode and return the id of its row.

    Raises:
        NameTakenError: Another server has begun an episode of this name at this moment.
    """
    try:
        (row_id,) = connection.execute(sa.insert(EPISODES).values(row)).inserted_primary_key or (0,)
    except sa.exc.IntegrityError as error:
        raise NameTakenError(
            f"another server has begun an episode {row['name']!r} at this moment: choose another episode_id"
        ) from error
    return int(row_id)


def _is_storable(name: str) -> bool:
    """Whether a database can hold a name. PostgreSQL refuses NUL, and both refuse lone surrogates."""
    return "\0" not in name and name.isprintable()


def load_episode(connection: sa.Connection, name: str, after: int = 0) -> tuple[int, JournaledEpisode]:
    """Read an episode, with its calls after call number `after`. Returns the id of its row too.

    Raises:
        NoSuchEpisodeError: No episode has that name.
        DamagedError: A row of the episode is damaged.
    """
    named = sa.select(*map(raw_column, EPISODES.c)).where(EPISODES.c.name == name)
    row = connection.execute(named).mappings().first() if _is_storable(name) else None
    if row is None:
        raise NoSuchEpisodeError(f"there is no episode {shown(name)} in the journal")
    same = sa.and_(WITHHELD.c.episode == CALLS.c.episode, WITHHELD.c.number == CALLS.c.number)
    columns = (*map(raw_column, CALLS.c), raw_column(WITHHELD.c.figures).label("withheld"))
    calls = sa.select(*columns).select_from(CALLS.outerjoin(WITHHELD, same))
    calls = calls.where(CALLS.c.episode == row["id"], CALLS.c.number > after).order_by(CALLS.c.number)
    header = header_from_row(name, row)
    rows = enumerate(connection.execute(calls).mappings(), after + 1)
    records = (call_from_row(name, number, call) for number, call in rows)
    return row["id"], JournaledEpisode(header, tuple(records))
