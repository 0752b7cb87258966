"""The journal: every episode and every call of its agent, written down before the reply is sent.

It keeps what happened and knows no rules. An episode's calls, carried out again, give the episode.
"""

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from ml_trainer_env.errors import MLTrainerError
from ml_trainer_env.server.store.bounds import bounded_arguments, bounded_text, bounded_tool
from ml_trainer_env.server.store.damage import DamagedError, checked, loaded, raw
from ml_trainer_env.server.store.database import Database
from ml_trainer_env.server.store.errors import StoreError
from ml_trainer_env.server.store.listing import EpisodeSummary, list_episodes
from ml_trainer_env.server.store.presence import Presence
from ml_trainer_env.server.store.tables import CALLS, EPISODES, HOLDS
from ml_trainer_env.server.store.units import UnitFigures, checked_figures, record_units
from ml_trainer_env.server.trainer.figures import Figures
from ml_trainer_env.server.trainer.limits import shown
from ml_trainer_env.server.trainer.metrics import EPOCH_FIGURES

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
    "RecordedUnit",
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
        data: Checksum of the task's data.
        versions: What its results depend on, by name.
        rules: Version of the rules that it is played by.
        forked_from: The episode and place it was forked from, None for one that was not.
    """

    name: str
    task: str
    seed: int
    rubric: str
    data: str
    versions: Mapping[str, str]
    rules: int
    forked_from: str | None = None


@dataclass(frozen=True, slots=True)
class RecordedUnit:
    """A unit of work of a call.

    Attributes:
        figures: Its result.
        from_cache: Whether the result was known before the call.
        identity: Key of the identity that it ran under, "" where that was not recorded yet.
    """

    figures: UnitFigures
    from_cache: bool
    identity: str = ""


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A call of the agent, and what came of it.

    Attributes:
        tool: The tool's name.
        arguments: Its arguments, as they came. Of a refused call the journal keeps their beginning; see `bounds`.
        reply: The reply, None if the call was refused or failed.
        error: What the agent was told instead; the journal keeps its beginning.
        reached: Whether the call got as far as the episode; one with a misspelt parameter does not.
        inherited: Whether it was made in the episode that this one was forked from.
        units: The units of work that it ran.
        weights_hash: Of the model after the call, None for one that has not been trained.
        at: When it was written down, in seconds since 1970.
    """

    tool: str
    arguments: Mapping[str, Any]
    reply: Mapping[str, Any] | None = None
    error: str | None = None
    reached: bool = True
    inherited: bool = False
    units: tuple[RecordedUnit, ...] = ()
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
class Ownership:
    """The right to append to an episode, until another session takes it over."""

    episode: int
    token: str


class Journal:
    """All episodes of a data folder.

    While a session plays an episode, its server has a *hold* on it. A hold counts for as long as the server lives:
    what is held is not pruned, and a name whose first epochs are being trained is not given to another episode.

    Args:
        database: Where episodes are written down.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._presence = database.presence

    async def begin(self, header: EpisodeHeader, inherited: Sequence[CallRecord] = ()) -> Ownership:
        """Write down a new episode.

        Args:
            header: What it begins with.
            inherited: Calls of the episode it was forked from.

        Raises:
            NameTakenError: There is one of that name that has trained already, or is just doing so.
            StoreError: It could not be written.
        """

        def write(connection: sa.Connection) -> Ownership:
            _clear_name(connection, header.name, self._presence)
            token, now = uuid.uuid4().hex, time.time()
            row = {
                "name": header.name,
                "task": header.task,
                "seed": header.seed,
                "rubric": header.rubric,
                "images": header.data,
                "versions": dict(header.versions),
                "rules": header.rules,
                "forked_from": header.forked_from,
                "owner": token,
                "begun_at": now,
                "called_at": now,
                "epochs": sum(len(call.units) for call in inherited),
                "needed": [],
            }
            (identity,) = connection.execute(sa.insert(EPISODES).values(row)).inserted_primary_key or (0,)
            rows = [_row(identity, number, replace(call, inherited=True)) for number, call in enumerate(inherited, 1)]
            if rows:
                connection.execute(sa.insert(CALLS), rows)
            return self._held(connection, Ownership(identity, token))

        return await self.database.write(write)

    async def reserve(self, ownership: Ownership) -> None:
        """Keep the episode's name for it, though no epoch has been trained: one is about to be.

        Raises:
            EpisodeTakenError: Another session has taken the episode over, or begun another of its name.
            StoreError: It could not be written.
        """

        def write(connection: sa.Connection) -> None:
            ours = sa.and_(HOLDS.c.episode == ownership.episode, HOLDS.c.owner == ownership.token)
            if connection.execute(sa.update(HOLDS).where(ours).values(training=True)).rowcount != 1:
                raise EpisodeTakenError("another session has taken this episode over")

        await self.database.write(write)

    def release(self, ownership: Ownership) -> None:
        """Take note that no session plays the episode any more. Does not wait, and may be called from any thread."""
        ours = sa.and_(HOLDS.c.episode == ownership.episode, HOLDS.c.owner == ownership.token)
        self.database.submit(lambda connection: connection.execute(sa.delete(HOLDS).where(ours)))

    async def append(
        self, ownership: Ownership, call: CallRecord, needed: Sequence[str], frees_name: bool = False
    ) -> None:
        """Write down a call. On return it is on disk.

        Args:
            ownership: As `begin` or `take_over` gave it.
            call: What happened.
            needed: Keys of the states that the episode may go on from.
            frees_name: Whether the call for which the name was reserved is over.

        Raises:
            EpisodeTakenError: Another session has taken the episode over; nothing was written.
            StoreError: It could not be written.
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
                raise EpisodeTakenError("another session has taken this episode over")
            if frees_name:
                held = HOLDS.c.owner == ownership.token
                connection.execute(sa.update(HOLDS).where(held).values(training=False))
            number = connection.execute(last).scalar_one() + 1
            connection.execute(sa.insert(CALLS).values(_row(ownership.episode, number, call)))
            record_units(connection, [unit.figures for unit in call.units if not unit.from_cache])

        await self.database.write(write)

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
            return self._held(connection, ownership), episode

        return await self.database.write(write)

    def _held(self, connection: sa.Connection, ownership: Ownership) -> Ownership:
        """Note this server down as the one that plays an episode.

        Raises:
            StoreError: The server's own lock cannot be taken.
        """
        try:
            server = self._presence.server
        except OSError as error:
            raise StoreError(f"the server cannot lock a file of its own beside the journal: {error}") from error
        connection.execute(sa.delete(HOLDS).where(HOLDS.c.episode == ownership.episode))
        row = {"episode": ownership.episode, "owner": ownership.token, "server": server}
        connection.execute(sa.insert(HOLDS).values(**row, training=False))
        return ownership

    async def load(self, name: str) -> JournaledEpisode:
        """Read an episode.

        Raises:
            NoSuchEpisodeError: There is none of that name.
            StoreError: The journal cannot be read.
        """
        return await self.database.read(lambda connection: _load(connection, name)[1])

    async def episodes(self) -> list[EpisodeSummary]:
        """All episodes that can be read, the one called last first. For small journals; see `listing` for others."""
        listed = await asyncio.to_thread(lambda: list(list_episodes(self.database)))
        return [line for line in listed if isinstance(line, EpisodeSummary)]


def _clear_name(connection: sa.Connection, name: str, presence: Presence) -> None:
    """Make way for a new episode: one of the same name that never trained is of no use to anybody."""
    known = connection.execute(sa.select(EPISODES.c.id, EPISODES.c.epochs).where(EPISODES.c.name == name)).first()
    if known is None:
        return
    if known.epochs:
        raise NameTakenError(
            f"there is an episode {name!r} with {known.epochs} epochs: go on with it by resume=true, "
            "or choose another episode_id"
        )
    training = sa.select(HOLDS.c.server).where(HOLDS.c.episode == known.id, HOLDS.c.training)
    if any(map(presence.is_alive, connection.execute(training).scalars())):
        raise NameTakenError(
            f"there is an episode {name!r} whose first epochs are being trained: go on with it by resume=true, "
            "or choose another episode_id"
        )
    connection.execute(sa.delete(EPISODES).where(EPISODES.c.id == known.id))


_HEADER: Mapping[str, Any] = {
    "name": str,
    "task": str,
    "seed": int,
    "rubric": str,
    "images": str,
    "rules": int,
    "forked_from": str | None,
}
"""Kinds of the columns that a header is read from, its versions aside."""


def _load(connection: sa.Connection, name: str) -> tuple[int, JournaledEpisode]:
    """Read an episode.

    Raises:
        NoSuchEpisodeError: There is none of that name.
        DamagedError: It is not what was written.
    """
    row = connection.execute(sa.select(*map(raw, EPISODES.c)).where(EPISODES.c.name == name)).mappings().first()
    if row is None:
        raise NoSuchEpisodeError(f"there is no episode {shown(name)} in the journal")
    calls = sa.select(*map(raw, CALLS.c)).where(CALLS.c.episode == row["id"]).order_by(CALLS.c.number)
    header = _header(name, row)
    records = (_record(name, number, call) for number, call in enumerate(connection.execute(calls).mappings(), 1))
    return row["id"], JournaledEpisode(header, tuple(records))


def _header(name: str, row: sa.RowMapping) -> EpisodeHeader:
    try:
        fields = {key: checked(key, row[key], kind) for key, kind in _HEADER.items()}
        fields["data"] = fields.pop("images")
        return EpisodeHeader(**fields, versions=loaded("versions", row["versions"], dict))
    except ValueError as error:
        raise DamagedError(f"episode {shown(name)} is damaged in the journal: {error}") from error


def _row(episode: int, number: int, call: CallRecord) -> dict[str, Any]:
    refused = call.reply is None
    return {
        "episode": episode,
        "number": number,
        "at": call.at,
        "tool": _storable(bounded_tool(call.tool)),
        "arguments": bounded_arguments(call.arguments) if refused else dict(call.arguments),
        "reply": None if call.reply is None else dict(call.reply),
        "error": None if call.error is None else _storable(bounded_text(call.error)),
        "reached": call.reached,
        "inherited": call.inherited,
        "epochs": [_unit_row(unit) for unit in call.units],
        "weights_hash": call.weights_hash,
    }


def _storable(text: str) -> str:
    """Text that UTF-8 can hold: what came as JSON may have halves of surrogate pairs in it."""
    return text.encode("utf-8", "backslashreplace").decode()


def _unit_row(unit: RecordedUnit) -> list[object]:
    """A unit of a call, as JSON. The figures of an epoch are listed by position, other figures by name."""
    result = unit.figures
    listed = set(result.figures) == set(EPOCH_FIGURES)
    figures = [result.figures[name] for name in EPOCH_FIGURES] if listed else dict(result.figures)
    return [result.key, result.digest, result.seconds, unit.from_cache, figures, unit.identity]


def _record(name: str, number: int, row: sa.RowMapping) -> CallRecord:
    """A call, if it is the one that was written down as the `number`th of the episode `name`.

    Raises:
        DamagedError: It is not.
    """
    try:
        if checked("number", row["number"], int) != number:
            raise ValueError("it is missing")
        reply = None if row["reply"] is None else loaded("reply", row["reply"], dict)
        arguments = loaded("arguments", row["arguments"], dict)
        error = checked("error", row["error"], str | None)
        return CallRecord(
            tool=bounded_tool(checked("tool", row["tool"], str)),
            arguments=bounded_arguments(arguments) if reply is None else arguments,
            reply=reply,
            error=None if error is None else bounded_text(error),
            reached=checked("reached", row["reached"], bool),
            inherited=checked("inherited", row["inherited"], bool),
            units=tuple(map(_recorded_unit, loaded("epochs", row["epochs"], list))),
            weights_hash=checked("weights_hash", row["weights_hash"], str | None),
            at=checked("at", row["at"], float | int),
        )
    except ValueError as error:
        raise DamagedError(f"call {number} of episode {shown(name)} is damaged in the journal: {error}") from error


def _recorded_unit(row: object) -> RecordedUnit:
    """A unit of a call. Those of older journals have no identity.

    Raises:
        ValueError: It is not what was written.
    """
    match row:
        case [str() as key, str() as digest, int() | float() as seconds, bool() as from_cache, fields, *rest]:
            identity = checked("identity", rest[0], str) if rest else ""
            return RecordedUnit(UnitFigures(key, _recorded_figures(fields), digest, seconds), from_cache, identity)
    raise ValueError(f"one of its epochs is {shown(row)}")


def _recorded_figures(fields: object) -> Figures:
    match fields:
        case [*values]:
            return checked_figures(dict(zip(EPOCH_FIGURES, values, strict=True)))
        case {}:
            return checked_figures(checked("figures", fields, dict))
    raise ValueError(f"its figures are {shown(fields)}")
