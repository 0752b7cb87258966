"""The state of a fleet's training run. Torch is not imported."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from ml_trainer_env.server.trainer.arrays import State

__all__ = ["FIRST_LOSS_SCALE", "FleetState", "FreshFleet", "state_hash"]

FIRST_LOSS_SCALE = 2.0**24
"""Far too large where gradients are half precision, and without effect elsewhere."""

_REPLICA = "replica/"
"""Prefix of the arrays of replicas that have drifted."""


@dataclass(frozen=True, slots=True)
class FreshFleet:
    """The state before the first step. Its weights are drawn where the first step runs.

    Attributes:
        seed: Seed of weights, data and noise, 0 to 2**63 - 1.
    """

    seed: int

    def to_state(self) -> State:
        """Return a `State` without arrays."""
        return State({}, {"seed": str(self.seed)})

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Read what `to_state` returned."""
        return cls(int(state.facts["seed"]))


@dataclass(frozen=True, slots=True, eq=False)
class FleetState:
    """Everything that a checkpoint of the run holds.

    What belongs to the cluster and not to the model (nodes, shards in use, time that actions cost) is part of the
    settings of a step, so that a restart takes a checkpoint's state and today's settings.

    Attributes:
        weights: float32 (size,).
        first_moment: Adam's mean of gradients, float32 (size,).
        second_moment: Adam's mean of squared gradients, float32 (size,).
        step: Number of steps so far.
        schedule: Position in the learning-rate schedule.
        updates: Number of updates of the moments.
        loss_scale: Factor of the loss where gradients are half precision.
        good_steps: Steps since the loss scale last changed.
        clock_us: Virtual time of the steps so far, in microseconds, from the start of the run.
        seed: Seed of weights, data and noise.
        replicas: Weights of the nodes whose replica differs from `weights`, by node.
    """

    weights: np.ndarray
    first_moment: np.ndarray
    second_moment: np.ndarray
    step: int
    schedule: int
    updates: int
    loss_scale: float
    good_steps: int
    clock_us: int
    seed: int
    replicas: Mapping[int, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for array in (self.weights, self.first_moment, self.second_moment, *self.replicas.values()):
            array.setflags(write=False)

    def to_state(self) -> State:
        """Return a `State`. Copies nothing."""
        arrays = {
            "weights": self.weights,
            "first_moment": self.first_moment,
            "second_moment": self.second_moment,
            **{f"{_REPLICA}{node}": array for node, array in self.replicas.items()},
        }
        facts = {name: str(getattr(self, name)) for name in _WHOLE_NUMBERS}
        return State(arrays, facts | {"loss_scale": repr(self.loss_scale)})

    @classmethod
    def from_state(cls, state: State) -> Self:
        """Read what `to_state` returned. Copies nothing."""
        arrays = state.arrays
        return cls(
            weights=arrays["weights"],
            first_moment=arrays["first_moment"],
            second_moment=arrays["second_moment"],
            loss_scale=float(state.facts["loss_scale"]),
            replicas={
                int(name.removeprefix(_REPLICA)): array for name, array in arrays.items() if name.startswith(_REPLICA)
            },
            **{name: int(state.facts[name]) for name in _WHOLE_NUMBERS},
        )


_WHOLE_NUMBERS = ("step", "schedule", "updates", "good_steps", "clock_us", "seed")


def state_hash(state: FleetState) -> str:
    """Return the SHA-256 (hex) of all arrays and facts."""
    plain = state.to_state()
    digest = hashlib.sha256(repr(sorted(plain.facts.items())).encode())
    for name, array in plain.arrays.items():
        digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
