"""The values that the journal records: episodes, calls and units of work."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_trainer_env.server.store.units import UnitFigures

__all__ = ["CallRecord", "EpisodeHeader", "JournaledEpisode", "RecordedUnit"]


@dataclass(frozen=True, slots=True)
class EpisodeHeader:
    """The initial facts of an episode.

    Attributes:
        name: Its episode_id.
        task: The task's id.
        seed: Seed of its randomness.
        rubric: Id of the formulas for rewards and grades.
        data: Checksum of the task's data.
        versions: Versions and settings that its results depend on, by name.
        rules: Version of its rules.
        forked_from: Episode and call that it was forked from; None if it is not a fork.
        agent: The name that the client gave for who plays. It proves nothing. None if it gave none.
    """

    name: str
    task: str
    seed: int
    rubric: str
    data: str
    versions: Mapping[str, str]
    rules: int
    forked_from: str | None = None
    agent: str | None = None


@dataclass(frozen=True, slots=True)
class RecordedUnit:
    """A unit of work of a call.

    Attributes:
        figures: Its result.
        from_cache: Whether the result was in the cache.
        identity: Key of the executor's identity; "" in older journals.
    """

    figures: UnitFigures
    from_cache: bool
    identity: str = ""


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A call of the agent and its outcome.

    Attributes:
        tool: The tool's name.
        arguments: Its arguments. Those of a refused call are truncated; see `bounds`.
        reply: The reply; None if the call was refused or failed.
        error: The error message in place of a reply. The journal truncates it.
        reached: Whether the call reached the episode. A call with an unknown parameter does not.
        inherited: Whether it belongs to the episode that this one was forked from.
        units: The units of work that it ran.
        weights_hash: Hash of the model after the call; None before the first epoch.
        at: Time of the record, in seconds since 1970.
        withheld: What the call came to and its reply does not tell: the grade of a ranked episode. None for nothing.
        reason: Why the agent made it, in its own words. The journal truncates it. None if it gave none.
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
    withheld: Mapping[str, Any] | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class JournaledEpisode:
    """An episode in the journal.

    Attributes:
        header: Its initial facts.
        calls: All calls, in order.
    """

    header: EpisodeHeader
    calls: tuple[CallRecord, ...]
