"""Faults that belong to a setting: they are there from the start, and an agent can set them right."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ml_trainer_env.server.trainer.fleet.faults.base import Fault
from ml_trainer_env.server.trainer.fleet.faults.kinds import FaultKind

__all__ = ["HighRate", "RareCheckpoints", "SharedSampler"]


@dataclass(frozen=True, slots=True)
class SharedSampler(Fault):
    """A sampler whose setting does not suit the loader, so that all ranks read the same batch."""

    kind: ClassVar[FaultKind] = FaultKind.SHARED_SAMPLER
    is_sampler_wrong: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class HighRate(Fault):
    """A scheduler that multiplies the learning rate.

    Attributes:
        factor: Factor of the rate that is set.
    """

    kind: ClassVar[FaultKind] = FaultKind.HIGH_RATE

    factor: float

    def learning_rate(self, rate: float) -> float:
        """Multiply the rate."""
        return rate * self.factor


@dataclass(frozen=True, slots=True)
class RareCheckpoints(Fault):
    """Checkpoints that are too far apart for a cluster whose nodes die.

    Attributes:
        checkpoint_every: Steps between two checkpoints.
    """

    kind: ClassVar[FaultKind] = FaultKind.RARE_CHECKPOINTS

    checkpoint_every: int

    @property
    def first_settings(self) -> Mapping[str, float | bool]:
        """The interval."""
        return {"checkpoint_every": self.checkpoint_every}
