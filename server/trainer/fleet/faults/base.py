"""What a fault is: hooks that get a place and a value and return a value. Torch is not imported.

A fault belongs to what it belongs to: a shard, a node, a rank, a position in the data, or a moment of virtual time. So
moving things is an experiment that tells causes apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import numpy as np

__all__ = ["Batch", "Fault", "FaultKind", "Place", "Scenario"]


class FaultKind(StrEnum):
    """The kinds of faults."""

    BAD_SHARD = "bad_shard"
    """The characters that come next are shuffled, or one passage is repeated, in some shards."""
    POISONED_BATCH = "poisoned_batch"
    """A batch at one position of the data has a huge gradient."""
    NONFINITE_BATCH = "nonfinite_batch"
    """A batch at one position of the data has a gradient that is not a number."""
    SILENT_CORRUPTION = "silent_corruption"
    """A node flips bits of its gradients."""
    HALF_PRECISION = "half_precision"
    """Gradients are half precision, so that a loss scale that is too large makes them overflow."""
    DRIFTING_REPLICA = "drifting_replica"
    """A node does not apply updates to its replica for a while."""
    STRAGGLER = "straggler"
    """A node computes slowly."""
    LOADER_STALL = "loader_stall"
    """Some shards are read slowly."""
    SLOW_LINK = "slow_link"
    """The link of a node makes every reduction slow."""
    SLOW_STORAGE = "slow_storage"
    """Steps after a checkpoint are slow, less and less."""
    CRASH = "crash"
    """A node dies at some moments."""
    STICKY_NODE = "sticky_node"
    """A node dies again and again, soon after each start of the job."""
    MEMORY_LEAK = "memory_leak"
    """A rank grows, whatever its node, and dies some time after each start of the job."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where and when a hook is called.

    Attributes:
        seed: The episode's seed.
        position: Position in the data.
        rank: The rank.
        node: Its node.
        shard: The shard that it reads. -1 where no shard is meant.
        incarnation: Number of restarts so far.
        clock_us: Virtual time at the beginning of the step, in microseconds.
        begun_us: Virtual time at which the job was started last.
        steps_since_save: Steps since the last checkpoint.
        loss_scale: Factor of the loss.
    """

    seed: int
    position: int
    rank: int
    node: int
    shard: int = -1
    incarnation: int = 0
    clock_us: int = 0
    begun_us: int = 0
    steps_since_save: int = 0
    loss_scale: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The sequences that a rank reads from one shard in one step.

    Attributes:
        inputs: int64 (sequences, context).
        targets: Like `inputs`.
        weight: Factor of its gradient.
    """

    inputs: np.ndarray
    targets: np.ndarray
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. The hooks of this class change nothing.

    Attributes:
        kind: Its kind.
        is_half_precision: Whether gradients are half precision, so that a step that overflows is left out.
    """

    kind: ClassVar[FaultKind]
    is_half_precision: ClassVar[bool] = False

    def batch(self, batch: Batch, place: Place) -> Batch:
        """Return the batch that is read."""
        return batch

    def gradient(self, gradient: np.ndarray, place: Place) -> np.ndarray:
        """Return the gradient that a rank sends: float32 (size,). The argument must not be changed."""
        return gradient

    def keeps_replica(self, place: Place) -> bool:
        """Whether the rank's replica misses the update of this step."""
        return False

    def compute_us(self, microseconds: int, place: Place) -> int:
        """Return the time that a rank computes."""
        return microseconds

    def data_us(self, microseconds: int, place: Place, *, mirrored: bool) -> int:
        """Return the time that a rank waits for its data."""
        return microseconds

    def reduce_us(self, microseconds: int, places: Sequence[Place]) -> int:
        """Return the time of the reduction over the ranks at these places."""
        return microseconds

    def dies_at_us(self, place: Place) -> int | None:
        """Return the moment at which the rank dies next, if it does after the beginning of the step."""
        return None


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that goes wrong in an episode. Its faults apply one after another.

    Attributes:
        faults: The faults.
    """

    faults: tuple[Fault, ...] = ()

    @property
    def is_half_precision(self) -> bool:
        """Whether gradients are half precision."""
        return any(fault.is_half_precision for fault in self.faults)

    def batch(self, batch: Batch, place: Place) -> Batch:
        """Return the batch that is read."""
        for fault in self.faults:
            batch = fault.batch(batch, place)
        return batch

    def gradient(self, gradient: np.ndarray, place: Place) -> np.ndarray:
        """Return the gradient that a rank sends."""
        for fault in self.faults:
            gradient = fault.gradient(gradient, place)
        return gradient

    def keeps_replica(self, place: Place) -> bool:
        """Whether the rank's replica misses the update of this step."""
        return any(fault.keeps_replica(place) for fault in self.faults)

    def compute_us(self, microseconds: int, place: Place) -> int:
        """Return the time that a rank computes."""
        for fault in self.faults:
            microseconds = fault.compute_us(microseconds, place)
        return microseconds

    def data_us(self, microseconds: int, place: Place, *, mirrored: bool) -> int:
        """Return the time that a rank waits for its data."""
        for fault in self.faults:
            microseconds = fault.data_us(microseconds, place, mirrored=mirrored)
        return microseconds

    def reduce_us(self, microseconds: int, places: Sequence[Place]) -> int:
        """Return the time of the reduction over the ranks at these places."""
        for fault in self.faults:
            microseconds = fault.reduce_us(microseconds, places)
        return microseconds

    def death_between(self, begin_us: int, end_us: int, places: Sequence[Place]) -> tuple[int, Place] | None:
        """Return the first death after `begin_us`, up to `end_us`: its moment and its place. None for none."""
        deaths = [
            (moment, place)
            for place in places
            for fault in self.faults
            if (moment := fault.dies_at_us(place)) is not None and begin_us < moment <= end_us
        ]
        return min(deaths, key=lambda death: (death[0], death[1].rank), default=None)
