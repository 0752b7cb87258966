"""Faults of gradients and replicas: they belong to nodes, or to the arithmetic."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ml_trainer_env.server.datasets.random_stream import RandomStream
from ml_trainer_env.server.trainer.fleet.faults.base import Fault, Place
from ml_trainer_env.server.trainer.fleet.faults.kinds import FaultKind

__all__ = ["DriftingReplica", "HalfPrecision", "SilentCorruption"]

_CORRUPTED = 21
"""Stream of random numbers of flipped bits."""


@dataclass(frozen=True, slots=True)
class SilentCorruption(Fault):
    """A node that flips one bit in some of its gradients' numbers.

    Attributes:
        node: The node.
        begins_us: The moment from which on it does.
        count: How many numbers of each gradient are hit.
        bit: The bit of the float32, 0 (least) to 31 (sign).
    """

    kind: ClassVar[FaultKind] = FaultKind.SILENT_CORRUPTION

    node: int
    begins_us: int
    count: int
    bit: int

    def gradient(self, gradient: np.ndarray, place: Place) -> np.ndarray:
        """Flip bits."""
        if place.node != self.node or place.clock_us < self.begins_us:
            return gradient
        source = RandomStream((place.seed, _CORRUPTED, place.position, place.rank))
        hit = source.below(gradient.size, self.count)
        flipped = gradient.copy()
        flipped.view(np.uint32)[hit] ^= np.uint32(1 << self.bit)
        return flipped

    def self_test(self, found: dict[str, float], node: int, clock_us: int) -> dict[str, float]:
        """Its products differ from what they should be."""
        if node != self.node or clock_us < self.begins_us:
            return found
        return found | {"wrong_products": float(self.count)}


@dataclass(frozen=True, slots=True)
class HalfPrecision(Fault):
    """Gradients are float16 while they are scaled."""

    kind: ClassVar[FaultKind] = FaultKind.HALF_PRECISION
    is_half_precision: ClassVar[bool] = True

    def gradient(self, gradient: np.ndarray, place: Place) -> np.ndarray:
        """Round to float16. What is above 65,504 after scaling overflows."""
        scale = np.float32(place.loss_scale)
        with np.errstate(over="ignore"):
            return (gradient * scale).astype(np.float16).astype(np.float32) / scale


@dataclass(frozen=True, slots=True)
class DriftingReplica(Fault):
    """A node that applies updates to its replica wrongly for a while, so that it trains on other weights.

    Attributes:
        node: The node.
        begins_us: The moment from which on it does.
        ends_us: The moment from which on it applies them rightly again: its replica stays apart.
        share: The share of each update that it applies. Below 0 it walks away from where the others go.
    """

    kind: ClassVar[FaultKind] = FaultKind.DRIFTING_REPLICA

    node: int
    begins_us: int
    ends_us: int
    share: float

    def applied_share(self, share: float, place: Place) -> float:
        """Return the share while it drifts."""
        drifts = place.node == self.node and self.begins_us <= place.clock_us < self.ends_us
        return self.share if drifts else share
