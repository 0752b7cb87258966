"""The journal: every episode and every call of its agent, written down before the reply is sent.

It keeps what happened and knows no rules. An episode's calls, carried out again, give the episode.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from ml_trainer_env.errors import MLTrainerError
from ml_trainer_env.server.store.database import Database
from ml_trainer_env.server.store.epochs import EpochFigures, record_epochs
from ml_trainer_env.server.store.tables import CALLS, EPISODES
from ml_trainer_env.server.trainer.metrics import EpochMetrics

__all__ = [
    "CallRecord",
    "EpisodeHeader",
    "EpisodeSummary",
    "EpisodeTakenError",
    "Journal",
    "JournaledEpisode",
    "NameTakenError",
    "NoSuchEpisodeError",
    "Ownership",
    "RecordedEpoch",
]


class EpisodeTakenError(MLTrainerError):
    """Another session has taken the episode over."""


class NoSuchEpisodeError(MLTrainerError, LookupError):
    """There is no episode of that name."""


class NameTakenError(MLTrainerError):
    """There is an episode of that name, and work in it."""


@dataclass(frozen=True, slots=True)
class EpisodeHeader:
    """What an episode begins with.

    Attributes:
        name: Its episode_id.
        task: The task's id.
        seed: Fixes its randomness.
        rubric: Which formulas reward and grade.
        images: Checksum of the task's images.
        versions: What its results depend on, by name.
        forked_from: The episode and place it was forked from, None for one that was not.
    """

    name: str
    task: str
    seed: int
    rubric: str
    images: str
    versions: Mapping[str, str]
    forked_from: str | None = None


@dataclass(frozen=True, slots=True)
class RecordedEpoch:
    """An epoch of a call.

    Attributes:
        figures: What it came to.
        from_cache: Whether it had been trained before.
    """

    figures: EpochFigures
    from_cache: bool


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A call of the agent, and what came of it.

    Attributes:
        tool: The tool's name.
        arguments: Its arguments, as they came.
        reply: The reply, None if the call was refused or failed.
        error: What the agent was told instead.
        reached: Whether the call got as far as the episode; one with a misspelt parameter does not.
        inherited: Whether it was made in the episode that this one was forked from.
        epochs: The epochs it trained.
        weights_hash: Of the model after the call, None for one that has not been trained.
        at: When it was written down, in seconds since 1970.
    """

    tool: str
    arguments: Mapping[str, Any]
    reply: Mapping[str, Any] | None = None
    error: str | None = None
    reached: bool = True
    inherited: bool = False
    epochs: tuple[RecordedEpoch, ...] = ()
    weights_hash: str | None = None
    at: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class JournaledEpisode:
    """An episode as it was written down.

    Attributes:
        header: What it began with.
        calls: All calls, in order.
    """

    header: EpisodeHeader
    calls: tuple[CallRecord, ...]


@dataclass(frozen=True, slots=True)
class EpisodeSummary:
    """A line of a list of episodes."""

    name: str
    task: str
    seed: int
    rubric: str
    epochs: int
    calls: int
    done: bool
    score: float | None
    forked_from: str | None
    called_at: float


@dataclass(frozen=True, slots=True)
class Ownership:
    """The right to append to an episode, until another session takes it over."""

    episode: int
    token: str


class Journal:
    """All episodes of a data folder."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, header: EpisodeHeader, inherited: Sequence[CallRecord] = ()) -> Ownership:
        """Write down a new episode.

        Args:
            header: What it begins with.
            inherited: Calls of the episode it was forked from.

        Raises:
            NameTakenError: There is one of that name that has trained already.
            StoreError: It could not be written.
        """

        def write(connection: sa.Connection) -> Ownership:
            _clear_name(connection, header.name)
            token, now = uuid.uuid4().hex, time.time()
            row = {
                "name": header.name,
                "task": header.task,
                "seed": header.seed,
                "rubric": header.rubric,
                "images": header.images,
                "versions": dict(header.versions),
                "forked_from": header.forked_from,
                "owner": token,
                "begun_at": now,
                "called_at": now,
                "epochs": sum(len(call.epochs) for call in inherited),
                "needed": [],
            }
            (identity,) = connection.execute(sa.insert(EPISODES).values(row)).inserted_primary_key or (0,)
            rows = [_row(identity, number, replace(call, inherited=True)) for number, call in enumerate(inherited, 1)]
            if rows:
                connection.execute(sa.insert(CALLS), rows)
            return Ownership(identity, token)

        return await self._database.write(write)

    async def append(self, ownership: Ownership, call: CallRecord, needed: Sequence[str]) -> None:
        """Write down a call. On return it is on disk.

        Args:
            ownership: As `begin` or `take_over` gave it.
            call: What happened.
            needed: Keys of the states that the episode may go on from.

        Raises:
            EpisodeTakenError: Another session has taken the episode over; nothing was written.
            StoreError: It could not be written.
        """

        def write(connection: sa.Connection) -> None:
            last = sa.select(sa.func.coalesce(sa.func.max(CALLS.c.number), 0))
            last = last.where(CALLS.c.episode == ownership.episode)
            ours = sa.and_(EPISODES.c.id == ownership.episode, EPISODES.c.owner == ownership.token)
            changes: dict[str, Any] = {"called_at": call.at, "epochs": EPISODES.c.epochs + len(call.epochs)}
            if call.reached:
                changes["needed"] = list(needed)
            if call.reply is not None and call.reply.get("done"):
                changes |= {"done": True, "score": call.reply.get("score")}
            if connection.execute(sa.update(EPISODES).where(ours).values(changes)).rowcount != 1:
                raise EpisodeTakenError("another session has taken this episode over")
            number = connection.execute(last).scalar_one() + 1
            connection.execute(sa.insert(CALLS).values(_row(ownership.episode, number, call)))
            record_epochs(connection, [epoch.figures for epoch in call.epochs if not epoch.from_cache])

        await self._database.write(write)

    async def take_over(self, name: str) -> tuple[Ownership, JournaledEpisode]:
        """Become the one session that may append to an episode, and read it.

        Raises:
            NoSuchEpisodeError: There is none of that name.
            StoreError: The journal cannot be read or written.
        """

        def write(connection: sa.Connection) -> tuple[Ownership, JournaledEpisode]:
            identity, episode = _load(connection, name)
            ownership = Ownership(identity, uuid.uuid4().hex)
            connection.execute(sa.update(EPISODES).where(EPISODES.c.id == identity).values(owner=ownership.token))
            return ownership, episode

        return await self._database.write(write)

    async def load(self, name: str) -> JournaledEpisode:
        """Read an episode.

        Raises:
            NoSuchEpisodeError: There is none of that name.
            StoreError: The journal cannot be read.
        """
        return await self._database.read(lambda connection: _load(connection, name)[1])

    async def episodes(self) -> list[EpisodeSummary]:
        """All episodes, the one called last first."""
        calls = (
            sa.select(CALLS.c.episode, sa.func.count().label("calls"))
            .where(~CALLS.c.inherited)
            .group_by(CALLS.c.episode)
            .subquery()
        )
        names = [name for name in EpisodeSummary.__dataclass_fields__ if name != "calls"]
        statement = (
            sa.select(*(EPISODES.c[name] for name in names), sa.func.coalesce(calls.c.calls, 0).label("calls"))
            .outerjoin(calls, calls.c.episode == EPISODES.c.id)
            .order_by(EPISODES.c.called_at.desc(), EPISODES.c.id.desc())
        )

        def read(connection: sa.Connection) -> list[EpisodeSummary]:
            return [EpisodeSummary(**row) for row in connection.execute(statement).mappings()]

        return await self._database.read(read)


def _clear_name(connection: sa.Connection, name: str) -> None:
    """Make way for a new episode: one of the same name that never trained is of no use to anybody."""
    known = connection.execute(sa.select(EPISODES.c.id, EPISODES.c.epochs).where(EPISODES.c.name == name)).first()
    if known is None:
        return
    if known.epochs:
        raise NameTakenError(
            f"there is an episode {name!r} with {known.epochs} epochs: go on with it by resume=true, "
            "or choose another episode_id"
        )
    connection.execute(sa.delete(EPISODES).where(EPISODES.c.id == known.id))


def _load(connection: sa.Connection, name: str) -> tuple[int, JournaledEpisode]:
    row = connection.execute(sa.select(EPISODES).where(EPISODES.c.name == name)).mappings().first()
    if row is None:
        raise NoSuchEpisodeError(f"there is no episode {name!r} in the journal")
    fields = EpisodeHeader.__dataclass_fields__
    header = EpisodeHeader(**{key: row[key] for key in fields})
    calls = sa.select(CALLS).where(CALLS.c.episode == row["id"]).order_by(CALLS.c.number)
    return row["id"], JournaledEpisode(
        header, tuple(_record(dict(call)) for call in connection.execute(calls).mappings())
    )


def _row(episode: int, number: int, call: CallRecord) -> dict[str, Any]:
    return {
        "episode": episode,
        "number": number,
        "at": call.at,
        "tool": _storable(call.tool),
        "arguments": dict(call.arguments),
        "reply": None if call.reply is None else dict(call.reply),
        "error": None if call.error is None else _storable(call.error),
        "reached": call.reached,
        "inherited": call.inherited,
        "epochs": [_epoch_row(epoch) for epoch in call.epochs],
        "weights_hash": call.weights_hash,
    }


def _storable(text: str) -> str:
    """Text that UTF-8 can hold: what came as JSON may have halves of surrogate pairs in it."""
    return text.encode("utf-8", "backslashreplace").decode()


def _epoch_row(epoch: RecordedEpoch) -> list[object]:
    figures, metrics = epoch.figures, epoch.figures.metrics
    values = [getattr(metrics, name) for name in EpochMetrics.__dataclass_fields__]
    return [figures.key, figures.weights_hash, figures.seconds, epoch.from_cache, values]


def _record(row: Mapping[str, Any]) -> CallRecord:
    fields = {name: row[name] for name in CallRecord.__dataclass_fields__ if name != "epochs"}
    return CallRecord(**fields, epochs=tuple(map(_recorded_epoch, row["epochs"])))


def _recorded_epoch(row: Sequence[Any]) -> RecordedEpoch:
    key, weights_hash, seconds, from_cache, values = row
    return RecordedEpoch(EpochFigures(key, EpochMetrics(*values), weights_hash, seconds), from_cache)
