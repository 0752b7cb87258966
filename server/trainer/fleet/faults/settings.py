"""Faults that belong to a setting: they are there from the start, and an agent can set them right."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ml_trainer_env.server.trainer.fleet.faults.base import Fault
from ml_trainer_env.server.trainer.fleet.faults.kinds import FaultKind

__all__ = ["HighRate", "RareCheckpoints", "SharedSampler"]


@dataclass(frozen=True, slots=True)
class SharedSampler(Fault):
    """A sampler that does not know the ranks, so that all of them read the same batch."""

    kind: ClassVar[FaultKind] = FaultKind.SHARED_SAMPLER

    @property
    def first_settings(self) -> Mapping[str, float | bool]:
        """The sampler's offset is off."""
        return {"sampler_offset": False}


@dataclass(frozen=True, slots=True)
class HighRate(Fault):
    """A peak learning rate that is too high.

    Attributes:
        learning_rate: The rate.
    """

    kind: ClassVar[FaultKind] = FaultKind.HIGH_RATE

    learning_rate: float

    @property
    def first_settings(self) -> Mapping[str, float | bool]:
        """The rate."""
        return {"learning_rate": self.learning_rate}


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
