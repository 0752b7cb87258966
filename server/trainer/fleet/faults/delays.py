"""Faults of time: they change no weight."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ml_trainer_env.server.trainer.fleet.faults.base import Fault, Place
from ml_trainer_env.server.trainer.fleet.faults.kinds import FaultKind

__all__ = ["LoaderStall", "SlowLink", "SlowStorage", "Straggler"]


@dataclass(frozen=True, slots=True)
class Straggler(Fault):
    """A node that computes slowly.

    Attributes:
        node: The node.
        begins_us: The moment from which on it does.
        factor: Factor of the time, above 1.
    """

    kind: ClassVar[FaultKind] = FaultKind.STRAGGLER

    node: int
    begins_us: int
    factor: float

    def compute_us(self, microseconds: int, place: Place) -> int:
        """Slow the node down."""
        slow = place.node == self.node and place.clock_us >= self.begins_us
        return round(microseconds * self.factor) if slow else microseconds

    def self_test(self, found: dict[str, float], node: int, clock_us: int) -> dict[str, float]:
        """Its matrix product is slow, too."""
        if node != self.node or clock_us < self.begins_us:
            return found
        return found | {"matmul_ms": round(found["matmul_ms"] * self.factor, 2)}


@dataclass(frozen=True, slots=True)
class LoaderStall(Fault):
    """Shards that are read slowly, unless they are read from a mirror.

    Attributes:
        shards: The shards.
        begins_us: The moment from which on they are.
        wait_us: What a batch takes.
    """

    kind: ClassVar[FaultKind] = FaultKind.LOADER_STALL

    shards: tuple[int, ...]
    begins_us: int
    wait_us: int

    def data_us(self, microseconds: int, place: Place, *, mirrored: bool) -> int:
        """Let the rank wait."""
        slow = place.shard in self.shards and not mirrored and place.clock_us >= self.begins_us
        return microseconds + self.wait_us if slow else microseconds


@dataclass(frozen=True, slots=True)
class SlowLink(Fault):
    """A node whose link makes every reduction slow, for all ranks.

    Attributes:
        node: The node.
        begins_us: The moment from which on it does.
        extra_us: What a reduction takes longer.
    """

    kind: ClassVar[FaultKind] = FaultKind.SLOW_LINK

    node: int
    begins_us: int
    extra_us: int

    def reduce_us(self, microseconds: int, places: Sequence[Place]) -> int:
        """Slow the reduction down, if the node takes part."""
        slow = any(place.node == self.node and place.clock_us >= self.begins_us for place in places)
        return microseconds + self.extra_us if slow else microseconds

    def self_test(self, found: dict[str, float], node: int, clock_us: int) -> dict[str, float]:
        """Its bandwidth is low."""
        if node != self.node or clock_us < self.begins_us:
            return found
        return found | {"link_gbps": round(found["link_gbps"] / 9, 1)}


@dataclass(frozen=True, slots=True)
class SlowStorage(Fault):
    """Storage that is busy after each checkpoint, so that all reads are slow, less and less.

    Attributes:
        begins_us: The moment from which on it is.
        extra_us: What a batch takes longer in the first step after a checkpoint.
        steps: After so many steps storage is idle again.
    """

    kind: ClassVar[FaultKind] = FaultKind.SLOW_STORAGE

    begins_us: int
    extra_us: int
    steps: int

    def data_us(self, microseconds: int, place: Place, *, mirrored: bool) -> int:
        """Let every rank wait. A mirror does not help: it is the same storage."""
        if place.steps_since_save is None or place.clock_us < self.begins_us:
            return microseconds
        busy = max(0, self.steps - place.steps_since_save)
        return microseconds + self.extra_us * busy // self.steps
