"""Faults that end a job: a rank dies, and nothing of the step remains."""

from dataclasses import dataclass
from typing import ClassVar

from ml_trainer_env.server.trainer.fleet.faults.base import Fault, FaultKind, Place

__all__ = ["Crash", "MemoryLeak", "StickyNode"]


@dataclass(frozen=True, slots=True)
class Crash(Fault):
    """A node that dies at a moment, whatever it does. Each moment kills it once.

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
        return next((moment for moment in self.moments_us if moment > place.clock_us), None)


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
        moment = max(self.begins_us, place.begun_us + self.life_us)
        return moment if place.node == self.node and moment > place.clock_us else None


@dataclass(frozen=True, slots=True)
class MemoryLeak(Fault):
    """A rank that grows and dies some time after each start of the job, on any node.

    Attributes:
        rank: The rank.
        life_us: How long after a start it dies.
    """

    kind: ClassVar[FaultKind] = FaultKind.MEMORY_LEAK

    rank: int
    life_us: int

    def dies_at_us(self, place: Place) -> int | None:
        """Return when the rank dies after the last start."""
        moment = place.begun_us + self.life_us
        return moment if place.rank == self.rank and moment > place.clock_us else None
