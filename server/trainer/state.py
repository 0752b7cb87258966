"""The complete state of a training run, as NumPy arrays.

Torch is not imported, so a process that only stores, hashes or sends states stays small.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from ml_trainer_env.server.trainer.arrays import State
from ml_trainer_env.server.trainer.starts import StartKind, StartSpec

__all__ = ["Arrays", "FreshState", "TrainingState", "weights_hash"]

Arrays = Mapping[str, np.ndarray]
"""Named read-only arrays, in the order in which the network declares them."""

_WEIGHTS, _OPTIMIZER = "weights/", "optimizer/"
"""Prefixes of the arrays' names in a `State`."""


@dataclass(frozen=True, slots=True)
class FreshState:
    """An initial state whose weights are not drawn yet.

    Attributes:
        network: Name of the network.
        seed: The episode's seed, 0 to 2**63 - 1.
        epoch: Number of epochs trained before. Another epoch gives other weights.
        start: What happened to the weights before the first epoch. None for nothing; a fresh start becomes None.
    """

    network: str
    seed: int
    epoch: int = 0
    start: StartSpec | None = None

    def __post_init__(self) -> None:
        if self.start is not None and self.start.kind is StartKind.FRESH:
            object.__setattr__(self, "start", None)

    def to_state(self) -> State:
        """Return a `State` with these facts and without arrays. The start is a fact only if there is one."""
        facts = {"network": str(self.network), "seed": str(self.seed), "epoch": str(self.epoch)}
        return State({}, facts if self.start is None else facts | {"start": self.start.text})

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Read what `to_state` returned."""
        start = StartSpec.parse(state.facts["start"]) if "start" in state.facts else None
        return cls(state.facts["network"], int(state.facts["seed"]), int(state.facts["epoch"]), start)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingState:
    """Everything that the next epoch depends on, except its configuration and data.

    Attributes:
        network: Name of the network of the weights.
        weights: Parameters and buffers by name, float32 (counters int64).
        optimizer: Optimizer buffers as "<parameter>/<buffer>", float32. Empty for a new optimizer.
        optimizer_kind: The optimizer of the buffers, "" for none.
        epoch: Number of epochs trained. With `seed` it fixes the randomness of the next epoch.
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
        """Return a `State`: the arrays under names with a prefix, the rest as facts. Copies nothing."""
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
        """Read what `to_state` returned. Copies nothing."""

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
    """Return the SHA-256 (hex) of the names, shapes, dtypes and bytes of the weights."""
    digest = hashlib.sha256()
    for name, array in state.weights.items():
        digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
