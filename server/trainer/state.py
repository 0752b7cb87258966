"""The complete state of a training run, as a value of NumPy arrays.

Needs no torch, so that a process that only keeps, hashes or ships states stays light.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from ml_trainer_env.server.trainer.arrays import State

__all__ = ["Arrays", "FreshState", "TrainingState", "weights_hash"]

Arrays = Mapping[str, np.ndarray]
"""Named read-only arrays, in the order in which the network declares them."""

_WEIGHTS, _OPTIMIZER = "weights/", "optimizer/"
"""Prefixes of the names that the arrays have in a `State`."""


@dataclass(frozen=True, slots=True)
class FreshState:
    """Names a state that has not been drawn yet.

    Attributes:
        network: Name of the network.
        seed: The episode's seed, 0 to 2**63 - 1.
        epoch: Where training stands; fresh weights at another epoch are other weights.
    """

    network: str
    seed: int
    epoch: int = 0

    def to_state(self) -> State:
        """An initial state: these facts and no arrays."""
        return State({}, {"network": str(self.network), "seed": str(self.seed), "epoch": str(self.epoch)})

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The value that `to_state` was called on."""
        return cls(state.facts["network"], int(state.facts["seed"]), int(state.facts["epoch"]))


@dataclass(frozen=True, slots=True, eq=False)
class TrainingState:
    """Everything the next epoch depends on, its configuration and data aside.

    Attributes:
        network: Name of the network the weights belong to.
        weights: Parameters and buffers by name, float32 (counters int64).
        optimizer: Optimizer buffers as "<parameter>/<buffer>", float32; empty when it is new.
        optimizer_kind: The optimizer that the buffers belong to, "" for none.
        epoch: Where training stands; with `seed` it fixes the randomness of the next epoch.
        seed: The episode's seed, 0 to 2**63 - 1.
    """

    network: str
    weights: Arrays
    optimizer: Arrays
    optimizer_kind: str
    epoch: int
    seed: int

    def __post_init__(self) -> None:
        for array in (*self.weights.values(), *self.optimizer.values()):
            array.setflags(write=False)

    @property
    def nbytes(self) -> int:
        """Size of all arrays, in bytes."""
        return sum(a.nbytes for a in (*self.weights.values(), *self.optimizer.values()))

    def to_state(self) -> State:
        """The same arrays under names with a prefix, and the rest as facts. Copies nothing."""
        arrays = {_WEIGHTS + name: array for name, array in self.weights.items()}
        arrays |= {_OPTIMIZER + name: array for name, array in self.optimizer.items()}
        facts = {
            "network": str(self.network),
            "optimizer_kind": str(self.optimizer_kind),
            "epoch": str(self.epoch),
            "seed": str(self.seed),
        }
        return State(arrays, facts)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The value that `to_state` was called on. Copies nothing."""

        def part(prefix: str) -> Arrays:
            named = state.arrays.items()
            return {name.removeprefix(prefix): array for name, array in named if name.startswith(prefix)}

        return cls(
            network=state.facts["network"],
            weights=part(_WEIGHTS),
            optimizer=part(_OPTIMIZER),
            optimizer_kind=state.facts["optimizer_kind"],
            epoch=int(state.facts["epoch"]),
            seed=int(state.facts["seed"]),
        )


def weights_hash(state: TrainingState) -> str:
    """SHA-256 (hex) over names, shapes, dtypes and bytes of the weights."""
    digest = hashlib.sha256()
    for name, array in state.weights.items():
        digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
