"""Faults that end a job: a rank dies or hangs, and nothing of the step remains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ml_trainer_env.server.trainer.fleet.faults.base import Fault, Notice, Place
from ml_trainer_env.server.trainer.fleet.faults.kinds import FaultKind

__all__ = ["MEMORY_LIMIT_MB", "Crash", "Hang", "Maintenance", "MemoryLeak", "StickyNode"]

MEMORY_LIMIT_MB = 80_000
"""A rank that needs more memory dies."""

_LEAST_LIFE_US = 1_000
"""What should have died already, while the job waited, dies so soon after a step began."""


@dataclass(frozen=True, slots=True)
class Crash(Fault):
    """A node that dies at a moment, whatever the job does. Each moment ends one job.

    Attributes:
        node: The node.
        moments_us: The moments, ascending.
    """

    kind: ClassVar[FaultKind] = FaultKind.CRASH

    node: int
    moments_us: tuple[int, ...]

    def dies_at_us(self, place: Place) -> int | None:
        """Return the next moment."""
        if place.node != self.node:
            return None
        return _next(self.moments_us, place)


@dataclass(frozen=True, slots=True)
class StickyNode(Fault):
    """A node that dies again some time after each start of the job.

    Attributes:
        node: The node.
        begins_us: It does not die before this moment.
        life_us: How long after a start it dies.
    """

    kind: ClassVar[FaultKind] = FaultKind.STICKY_NODE

    node: int
    begins_us: int
    life_us: int

    def dies_at_us(self, place: Place) -> int | None:
        """Return when the node dies after the last start."""
        if place.node != self.node:
            return None
        moment = max(self.begins_us, place.begun_us + self.life_us)
        return max(moment, place.clock_us + _LEAST_LIFE_US)

    def self_test(self, found: dict[str, float], node: int, clock_us: int) -> dict[str, float]:
        """It has counted errors of its memory."""
        if node != self.node or clock_us < self.begins_us:
            return found
        return found | {"memory_errors": found["memory_errors"] + 7}


@dataclass(frozen=True, slots=True)
class Hang(Fault):
    """A node whose rank never enters the reduction, at some moments. Its process looks healthy.

    Attributes:
        node: The node.
        moments_us: The moments, ascending.
    """

    kind: ClassVar[FaultKind] = FaultKind.HANG

    node: int
    moments_us: tuple[int, ...]

    def hangs_at_us(self, place: Place) -> int | None:
        """Return the next moment."""
        if place.node != self.node:
            return None
        return _next(self.moments_us, place)


@dataclass(frozen=True, slots=True)
class Maintenance(Fault):
    """A node that is taken away for a while, as was announced. Every job that uses it then dies.

    Attributes:
        node: The node.
        announced_us: The moment from which on monitoring shows the notice.
        begins_us: The moment at which it is taken away.
        ends_us: The moment at which it is back.
    """

    kind: ClassVar[FaultKind] = FaultKind.MAINTENANCE

    node: int
    announced_us: int
    begins_us: int
    ends_us: int

    def dies_at_us(self, place: Place) -> int | None:
        """Return when the node is away, for a job that began before or meanwhile."""
        if place.node != self.node or place.begun_us >= self.ends_us or place.clock_us >= self.ends_us:
            return None
        return max(self.begins_us, place.clock_us + _LEAST_LIFE_US)

    @property
    def notices(self) -> Sequence[Notice]:
        """The announcement."""
        begins, ends = self.begins_us // 1_000_000, self.ends_us // 1_000_000
        text = f"maintenance scheduled: node {self.node} will be powered off from t={begins} s to t={ends} s"
        return (Notice(self.announced_us, text),)


@dataclass(frozen=True, slots=True)
class MemoryLeak(Fault):
    """A rank that grows while it records activations, and dies some time after each start, on any node.

    Attributes:
        rank: The rank.
        life_us: How long after a start it dies.
    """

    kind: ClassVar[FaultKind] = FaultKind.MEMORY_LEAK

    rank: int
    life_us: int

    @property
    def first_settings(self) -> Mapping[str, float | bool]:
        """Activations are recorded."""
        return {"record_activations": True}

    def dies_at_us(self, place: Place) -> int | None:
        """Return when the rank dies after the last start."""
        if place.rank != self.rank or not place.records_activations:
            return None
        return max(place.begun_us + self.life_us, place.clock_us + _LEAST_LIFE_US)

    def memory_mb(self, megabytes: int, place: Place) -> int:
        """Let the rank grow up to the limit."""
        if place.rank != self.rank or not place.records_activations:
            return megabytes
        age = min(1.0, (place.clock_us - place.begun_us) / self.life_us)
        return megabytes + round((MEMORY_LIMIT_MB - megabytes) * age)


def _next(moments_us: Sequence[int], place: Place) -> int | None:
    """Return the first moment of this job. One that passed while the job waited strikes as soon as it goes on."""
    moment = next((moment for moment in moments_us if moment > place.begun_us), None)
    return None if moment is None else max(moment, place.clock_us + _LEAST_LIFE_US)
