"""What goes wrong in a fleet: one small pure class for each kind of fault. Torch is not imported.

A fault belongs to what it belongs to: a shard, a node, a position in the data, or a moment of virtual time. So moving
things is an experiment that tells causes apart. Every hook gets a place and a value and returns a value; the hooks of
`Fault` change nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from ml_trainer_env.server.datasets.random_stream import RandomStream

__all__ = [
    "BadShard",
    "Batch",
    "Crash",
    "DriftingReplica",
    "Fault",
    "FaultKind",
    "LoaderStall",
    "Place",
    "PoisonedBatch",
    "Scenario",
    "SilentCorruption",
    "Straggler",
]

_SHUFFLED, _CORRUPTED = range(20, 22)
"""Streams of random numbers of faults."""


class FaultKind(StrEnum):
    """The kinds of faults."""

    BAD_SHARD = "bad_shard"
    """The characters that come next are shuffled, or one passage is repeated, in some shards."""
    POISONED_BATCH = "poisoned_batch"
    """One batch at one position of the data has a huge gradient."""
    SILENT_CORRUPTION = "silent_corruption"
    """A node flips bits of its gradients."""
    STRAGGLER = "straggler"
    """A node computes slowly."""
    LOADER_STALL = "loader_stall"
    """Some shards are read slowly."""
    CRASH = "crash"
    """A node dies at a moment."""
    DRIFTING_REPLICA = "drifting_replica"
    """A node does not apply updates to its replica."""


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
    """

    seed: int
    position: int
    rank: int
    node: int
    shard: int = -1
    incarnation: int = 0
    clock_us: int = 0


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
    """One thing that goes wrong. The hooks of this class change nothing."""

    @property
    def kind(self) -> FaultKind:
        """Its kind."""
        raise NotImplementedError

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

    def dies_at_us(self, place: Place) -> int | None:
        """Return the moment at which the rank's node dies next, if it does after the beginning of the step."""
        return None


@dataclass(frozen=True, slots=True)
class BadShard(Fault):
    """Shards whose text is spoilt from a position on.

    Attributes:
        shards: The shards.
        begins: First position in the data.
        repeated: Whether one passage is repeated. Else the targets are shuffled.
    """

    shards: tuple[int, ...]
    begins: int
    repeated: bool = False

    @property
    def kind(self) -> FaultKind:
        """Its kind."""
        return FaultKind.BAD_SHARD

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

    shard: int
    first: int
    length: int
    weight: float

    @property
    def kind(self) -> FaultKind:
        """Its kind."""
        return FaultKind.POISONED_BATCH

    def batch(self, batch: Batch, place: Place) -> Batch:
        """Replace what comes next by one character, with a huge weight."""
        if place.shard != self.shard or not self.first <= place.position < self.first + self.length:
            return batch
        return Batch(batch.inputs, np.zeros_like(batch.targets), self.weight)


@dataclass(frozen=True, slots=True)
class SilentCorruption(Fault):
    """A node that flips one bit in some of its gradients' numbers.

    Attributes:
        node: The node.
        begins_us: The moment from which on it does.
        count: How many numbers of each gradient are hit.
        bit: The bit of the float32, 0 (least) to 31 (sign).
    """

    node: int
    begins_us: int
    count: int
    bit: int

    @property
    def kind(self) -> FaultKind:
        """Its kind."""
        return FaultKind.SILENT_CORRUPTION

    def gradient(self, gradient: np.ndarray, place: Place) -> np.ndarray:
        """Flip bits."""
        if place.node != self.node or place.clock_us < self.begins_us:
            return gradient
        source = RandomStream((place.seed, _CORRUPTED, place.position, place.rank))
        hit = source.below(gradient.size, self.count)
        flipped = gradient.copy()
        flipped.view(np.uint32)[hit] ^= np.uint32(1 << self.bit)
        return flipped


@dataclass(frozen=True, slots=True)
class Straggler(Fault):
    """A node that computes slowly.

    Attributes:
        node: The node.
        begins_us: The moment from which on it does.
        factor: Factor of the time, above 1.
    """

    node: int
    begins_us: int
    factor: float

    @property
    def kind(self) -> FaultKind:
        """Its kind."""
        return FaultKind.STRAGGLER

    def compute_us(self, microseconds: int, place: Place) -> int:
        """Slow the node down."""
        slow = place.node == self.node and place.clock_us >= self.begins_us
        return round(microseconds * self.factor) if slow else microseconds


@dataclass(frozen=True, slots=True)
class LoaderStall(Fault):
    """Shards that are read slowly, unless they are read from a mirror.

    Attributes:
        shards: The shards.
        begins_us: The moment from which on they are.
        wait_us: What a batch takes.
    """

    shards: tuple[int, ...]
    begins_us: int
    wait_us: int

    @property
    def kind(self) -> FaultKind:
        """Its kind."""
        return FaultKind.LOADER_STALL

    def data_us(self, microseconds: int, place: Place, *, mirrored: bool) -> int:
        """Let the rank wait."""
        slow = place.shard in self.shards and not mirrored and place.clock_us >= self.begins_us
        return microseconds + self.wait_us if slow else microseconds


@dataclass(frozen=True, slots=True)
class Crash(Fault):
    """A node that dies at a moment, whatever it does. Each moment kills it once.

    Attributes:
        node: The node.
        moments_us: The moments, ascending.
    """

    node: int
    moments_us: tuple[int, ...]

    @property
    def kind(self) -> FaultKind:
        """Its kind."""
        return FaultKind.CRASH

    def dies_at_us(self, place: Place) -> int | None:
        """Return the next moment."""
        if place.node != self.node:
            return None
        return next((moment for moment in self.moments_us if moment > place.clock_us), None)


@dataclass(frozen=True, slots=True)
class DriftingReplica(Fault):
    """A node that stops applying updates to its replica.

    Attributes:
        node: The node.
        begins_us: The moment from which on it does.
        ends_us: The moment from which on it applies them again: its replica stays behind.
    """

    node: int
    begins_us: int
    ends_us: int

    @property
    def kind(self) -> FaultKind:
        """Its kind."""
        return FaultKind.DRIFTING_REPLICA

    def keeps_replica(self, place: Place) -> bool:
        """Whether the node misses the update."""
        return place.node == self.node and self.begins_us <= place.clock_us < self.ends_us


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that goes wrong in an episode. Its faults apply one after another.

    Attributes:
        faults: The faults.
    """

    faults: tuple[Fault, ...] = ()

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

    def death_between(self, begin_us: int, end_us: int, places: Iterable[Place]) -> tuple[int, Place] | None:
        """Return the first death after `begin_us`, up to `end_us`: its moment and its place. None for none."""
        deaths = [
            (moment, place)
            for place in places
            for fault in self.faults
            if (moment := fault.dies_at_us(place)) is not None and begin_us < moment <= end_us
        ]
        return min(deaths, key=lambda death: (death[0], death[1].rank), default=None)
