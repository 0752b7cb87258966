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
    """Checkpoints without Adam's moments. The count of updates is there, so that nothing is corrected for."""

    kind: ClassVar[FaultKind] = FaultKind.MISSING_OPTIMIZER

    def restored(self, state: FleetState, saved_us: int) -> FleetState:
        """Zero the moments."""
        zeros = np.zeros_like(state.weights)
        return replace(state, first_moment=zeros, second_moment=zeros)


@dataclass(frozen=True, slots=True)
class LostSchedule(Fault):
    """A restart that begins the learning-rate schedule again."""

    kind: ClassVar[FaultKind] = FaultKind.LOST_SCHEDULE

    def restored(self, state: FleetState, saved_us: int) -> FleetState:
        """Set the position in the schedule to its begin."""
        return replace(state, schedule=0)


@dataclass(frozen=True, slots=True)
class LostCursor(Fault):
    """A restart that begins the data again."""

    kind: ClassVar[FaultKind] = FaultKind.LOST_CURSOR
    loses_cursor: ClassVar[bool] = True
