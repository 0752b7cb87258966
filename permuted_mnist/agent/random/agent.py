"""Guesses: what every other agent must beat."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Agent"]

Array = npt.NDArray[Any]


class Agent:
    """Gives each test image a label at random. About 10 % are right.

    Args:
        output_dim: Number of labels.
        seed: Fixes the guesses.
    """

    def __init__(self, output_dim: int = 10, seed: int | None = None) -> None:
        self.output_dim = output_dim
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self._generator = np.random.default_rng(self._seed)

    def train(self, X_train: Array, y_train: Array) -> None:
        """Learn nothing."""

    def predict(self, X_test: Array) -> Array:
        """Guess."""
        return self._generator.integers(0, self.output_dim, len(X_test))
