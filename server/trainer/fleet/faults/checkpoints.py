"""Faults of checkpoints: they show when a restart reads one."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ml_trainer_env.server.datasets.random_stream import RandomStream
from ml_trainer_env.server.trainer.fleet.faults.base import Fault
from ml_trainer_env.server.trainer.fleet.faults.kinds import FaultKind
from ml_trainer_env.server.trainer.fleet.state import FleetState

__all__ = ["CorruptCheckpoint", "LostCursor", "LostSchedule", "MissingOptimizer"]

_DAMAGED = 22
"""Stream of random numbers of damaged weights."""


@dataclass(frozen=True, slots=True)
class CorruptCheckpoint(Fault):
    """Checkpoints that hold other weights than those saved, because a part of the upload was lost.

    Attributes:
        begins_us: Those that were saved from this moment on.
        ends_us: And before this one.
        count: How many weights are others.
        size: The others lie between minus this and this, uniformly.
    """

    kind: ClassVar[FaultKind] = FaultKind.CORRUPT_CHECKPOINT

    begins_us: int
    ends_us: int
    count: int
    size: float

    def restored(self, state: FleetState, saved_us: int) -> FleetState:
        """Replace some weights."""
        if not self.begins_us <= saved_us < self.ends_us:
            return state
        source = RandomStream((state.seed, _DAMAGED, state.step))
        weights = state.weights.copy()
        weights[source.below(weights.size, self.count)] = source.between(-self.size, self.size, self.count)
        return replace(state, weights=weights)


@dataclass(frozen=True, slots=True)
class MissingOptimizer(Fault):
    """Checkpoints without Adam's second moment. The first one and the count of updates are there."""

    kind: ClassVar[FaultKind] = FaultKind.MISSING_OPTIMIZER

    def restored(self, state: FleetState, saved_us: int) -> FleetState:
        """Zero the second moment."""
        return replace(state, second_moment=np.zeros_like(state.weights))


@dataclass(frozen=True, slots=True)
class LostSchedule(Fault):
    """A restart that reads another position in the learning-rate schedule.

    Attributes:
        position: The position. A negative one is before the warm-up: the rate is zero.
    """

    kind: ClassVar[FaultKind] = FaultKind.LOST_SCHEDULE

    position: int

    def restored(self, state: FleetState, saved_us: int) -> FleetState:
        """Set the position in the schedule."""
        return replace(state, schedule=self.position)


@dataclass(frozen=True, slots=True)
class LostCursor(Fault):
    """A restart after which the sampler reads the first batches again and again.

    Attributes:
        period: How many positions in the data it repeats.
    """

    kind: ClassVar[FaultKind] = FaultKind.LOST_CURSOR

    period: int

    @property
    def repeats_positions(self) -> int | None:
        """How many positions a restart repeats."""
        return self.period
