"""Changes of the examples on the way. Torch is not imported.

A run uses the plain examples at first, and the changed ones from some epoch on. `data.py` makes the changed tensors.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np

from ml_trainer_env.server.datasets import ExampleKind, TargetKind
from ml_trainer_env.server.datasets.random_stream import RandomStream
from ml_trainer_env.server.trainer.examples import Examples, PermutedExamples
from ml_trainer_env.server.trainer.limits import Limit, check_choice

__all__ = ["CHANGE_LIMITS", "Change", "ChangeKind", "ChangedExamples", "Drift", "TrainingData", "changed"]

CHANGE_LIMITS: Mapping[str, Limit] = MappingProxyType(
    {"strength": Limit(0.0, 1.0, open_low=True), "seed": Limit(0, 2**63 - 1, whole=True)}
)
"""Bounds of the numbers of a change, by name."""

_LABELS, _GAIN, _OFFSET, _SHIFT, _TOKENS = range(5)
"""Streams of random numbers of a change."""

_SHIFTED_SHARE = 1 / 7
"""At strength 1 images move by this share of their side: 4 of 28 pixels."""
_EXCHANGED_SHARE = 0.5
"""At strength 1 tokens that fill this share of the training examples are exchanged."""


class ChangeKind(StrEnum):
    """What changes."""

    NONE = "none"
    """Nothing."""
    NOISY_LABELS = "noisy_labels"
    """A share of the training labels becomes wrong."""
    DRIFT = "drift"
    """The inputs of all parts change alike."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of examples. Every field is checked on construction.

    Attributes:
        kind: What changes.
        strength: Above 0, to 1. For noisy labels it is the share of labels that becomes wrong. For drift, 1 doubles or
            halves standardised inputs and moves them by a standard deviation.
        seed: Decides which labels, columns, channels, directions or tokens change.

    Raises:
        ConfigError: A value is out of bounds or of the wrong type.
    """

    kind: ChangeKind
    strength: float
    seed: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", ChangeKind(check_choice("kind of change", self.kind, tuple(ChangeKind))))
        for name, limit in CHANGE_LIMITS.items():
            object.__setattr__(self, name, limit.check(name, getattr(self, name)))

    @property
    def text(self) -> str:
        """The change as JSON on one line. Equal changes have equal texts."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True, eq=False)
class Drift:
    """How standardised inputs change: multiplied by `gain`, moved by `offset`, and images shifted.

    Attributes:
        gain: float32 (channels,) or (columns,).
        offset: As `gain`, in standard deviations.
        rows: Number of pixels by which images move down.
        columns: Number of pixels by which images move right.
    """

    gain: np.ndarray
    offset: np.ndarray
    rows: int = 0
    columns: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class ChangedExamples:
    """Examples after a change. Their arrays are those of the examples before it.

    Noisy labels concern the training labels alone. Drift concerns the training, validation and test inputs, since the
    hidden examples are those of the changed world. The mean and deviation of the standardisation stay as they were.

    Attributes:
        base: The examples before the change.
        change: The change.

    Raises:
        ValueError: The change is none.
    """

    base: Examples
    change: Change

    def __post_init__(self) -> None:
        if self.change.kind is ChangeKind.NONE:
            raise ValueError("changed examples need a change, got none; use the examples themselves")

    @property
    def key(self) -> str:
        """Key of the content."""
        return f"{self.base.key}:{self.change.text}"

    @property
    def nbytes(self) -> int:
        """Size of the arrays of `base`, in bytes."""
        return self.base.nbytes

    @property
    def parts(self) -> tuple[Examples, ...]:
        """The parts that other data may share: the examples before the change."""
        return (self.base,)

    def train_labels(self) -> np.ndarray:
        """Return the training labels after the change, int64, as a new array."""
        labels = self.base.train_labels.astype(np.int64)
        if self.change.kind is not ChangeKind.NOISY_LABELS:
            return self._exchanged_labels(labels)
        flat = labels.reshape(-1)
        order = np.argsort(np.random.PCG64([self.change.seed, _LABELS]).random_raw(flat.size), kind="stable")
        wrong = order[: round(self.change.strength * flat.size)]
        distance = 1 + RandomStream([self.change.seed, _LABELS, 1]).below(self.base.outputs - 1, len(wrong))
        flat[wrong] = (flat[wrong] + distance) % self.base.outputs
        return labels

    def held_out_labels(self, labels: np.ndarray) -> np.ndarray:
        """Return validation or test labels after the change, int64, as a new array."""
        return self._exchanged_labels(labels.astype(np.int64))

    def tokens(self, inputs: np.ndarray) -> np.ndarray:
        """Return tokens of any part after the change, as a new array."""
        exchange = self._exchange()
        return inputs.copy() if exchange is None else exchange[inputs]

    def drift(self) -> Drift | None:
        """Return how images, tables and sequences drift. None if they do not."""
        if self.change.kind is not ChangeKind.DRIFT or self.base.kind is ExampleKind.TOKENS:
            return None
        images = self.base.kind is ExampleKind.IMAGES
        count = self.base.input_shape[0] if images else self.base.input_shape[-1]
        drawn = 1 if images else count
        strength = np.float32(self.change.strength)
        gain = (1 + strength) ** RandomStream([self.change.seed, _GAIN]).signs(drawn)
        offset = strength * RandomStream([self.change.seed, _OFFSET]).signs(drawn)
        if images:
            down, right = RandomStream([self.change.seed, _SHIFT]).signs(2)
            distances = [round(self.change.strength * _SHIFTED_SHARE * side) for side in self.base.input_shape[1:]]
            return Drift(
                np.repeat(gain, count), np.repeat(offset, count), int(down) * distances[0], int(right) * distances[1]
            )
        order = np.argsort(np.random.PCG64([self.change.seed, _SHIFT]).random_raw(count), kind="stable")
        still = order[(count + 1) // 2 :]
        gain[still], offset[still] = 1.0, 0.0
        return Drift(gain.astype(np.float32), offset.astype(np.float32))

    def _exchanged_labels(self, labels: np.ndarray) -> np.ndarray:
        exchange = self._exchange() if self.base.target is TargetKind.NEXT_TOKEN else None
        return labels if exchange is None else exchange[labels]

    def _exchange(self) -> np.ndarray | None:
        """Return the token that each token becomes, int64 (vocabulary,). None if tokens do not change."""
        if self.change.kind is not ChangeKind.DRIFT or self.base.kind is not ExampleKind.TOKENS:
            return None
        counts = np.bincount(self.base.train_inputs.reshape(-1).astype(np.int64), minlength=self.base.vocabulary)
        order = np.argsort(np.random.PCG64([self.change.seed, _TOKENS]).random_raw(len(counts)), kind="stable")
        present = order[counts[order] > 0]
        wanted = self.change.strength * _EXCHANGED_SHARE * counts.sum()
        cycle = present[: max(2, int(np.searchsorted(np.cumsum(counts[present]), wanted)) + 1)]
        exchange = np.arange(self.base.vocabulary)
        exchange[cycle] = np.roll(cycle, 1)
        return exchange


TrainingData = Examples | PermutedExamples | ChangedExamples
"""The examples of an episode: plain, permuted, or changed on the way."""


def changed(examples: Examples, change: Change | None) -> Examples | ChangedExamples:
    """Return the examples after a change. None, or a change of kind none, leaves them as they are."""
    return examples if change is None or change.kind is ChangeKind.NONE else ChangedExamples(examples, change)
