"""Faults of the data: they belong to shards and positions, whichever node reads them."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ml_trainer_env.server.datasets.random_stream import RandomStream
from ml_trainer_env.server.trainer.fleet.faults.base import Batch, Fault, Place
from ml_trainer_env.server.trainer.fleet.faults.kinds import FaultKind

__all__ = ["BadShard", "NonfiniteBatch", "PoisonedBatch"]

_SHUFFLED = 20
"""Stream of random numbers of shuffled targets."""


@dataclass(frozen=True, slots=True)
class BadShard(Fault):
    """Shards whose text is spoilt from a position on.

    Attributes:
        shards: The shards.
        begins: First position in the data.
        repeated: Whether one passage is repeated. Else the targets are shuffled.
    """

    kind: ClassVar[FaultKind] = FaultKind.BAD_SHARD

    shards: tuple[int, ...]
    begins: int
    repeated: bool = False

    def batch(self, batch: Batch, place: Place) -> Batch:
        """Spoil a batch of the shards."""
        if place.shard not in self.shards or place.position < self.begins:
            return batch
        if self.repeated:
            again = np.zeros(len(batch.inputs), dtype=np.int64)
            return Batch(batch.inputs[again], batch.targets[again], batch.weight)
        order = np.argsort(
            RandomStream((place.seed, _SHUFFLED, place.position, place.shard)).floats(batch.targets.size),
            kind="stable",
        )
        return Batch(batch.inputs, batch.targets.reshape(-1)[order].reshape(batch.targets.shape), batch.weight)


@dataclass(frozen=True, slots=True)
class PoisonedBatch(Fault):
    """A batch that blows Adam's second moment up.

    Attributes:
        shard: The shard of the batch.
        first: First position in the data.
        length: Number of positions.
        weight: Factor of the gradient.
    """

    kind: ClassVar[FaultKind] = FaultKind.POISONED_BATCH

    shard: int
    first: int
    length: int
    weight: float

    def batch(self, batch: Batch, place: Place) -> Batch:
        """Replace what comes next by one character, with a huge weight."""
        if place.shard != self.shard or not self.first <= place.position < self.first + self.length:
            return batch
        return Batch(batch.inputs, np.zeros_like(batch.targets), self.weight)


@dataclass(frozen=True, slots=True)
class NonfiniteBatch(Fault):
    """A batch whose gradient is not a number.

    Attributes:
        shard: The shard of the batch.
        position: Its position in the data.
    """

    kind: ClassVar[FaultKind] = FaultKind.NONFINITE_BATCH

    shard: int
    position: int

    def batch(self, batch: Batch, place: Place) -> Batch:
        """Give the gradient a factor that is not a number."""
        if (place.shard, place.position) != (self.shard, self.position):
            return batch
        return Batch(batch.inputs, batch.targets, float("nan"))
