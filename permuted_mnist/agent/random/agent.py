"""Guesses labels. A baseline for all other agents."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Agent"]

Array = npt.NDArray[Any]


class Agent:
    """Predicts a random label for each test image. About 10 % are correct.

    Args:
        output_dim: Number of labels.
        seed: Determines the guesses.
    """

    def __init__(self, output_dim: int = 10, seed: int | None = None) -> None:
        self.output_dim = output_dim
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        """Restart the random generator."""
        self._generator = np.random.default_rng(self._seed)

    def train(self, X_train: Array, y_train: Array) -> None:
        """Learn nothing."""

    def predict(self, X_test: Array) -> Array:
        """Guess."""
        return self._generator.integers(0, self.output_dim, len(X_test))
