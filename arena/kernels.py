"""Kinds of competition: what an agent must have, and who plays it."""

from enum import StrEnum

__all__ = ["Kernel"]

_PERMUTED_MNIST = '''import numpy as np


class Agent:
    def __init__(self, output_dim=10, seed=None):
        self.output_dim = output_dim

    def reset(self):
        """A new task begins: forget everything."""

    def train(self, X_train, y_train):
        """Learn from images (60000, 28, 28) in [0, 1] and labels (60000,)."""

    def predict(self, X_test):
        """A label for each of the images (10000, 28, 28)."""
        return np.zeros(len(X_test), int)
'''


class Kernel(StrEnum):
    """A kind of competition."""

    PERMUTED_MNIST = "permuted_mnist"
    """Train and predict within a minute, on permuted MNIST."""

    @property
    def needs_env(self) -> bool:
        """Whether the creator brings the environment, `env.py`."""
        return False

    @property
    def methods(self) -> tuple[str, ...]:
        """What an agent must have."""
        return "train", "predict"

    @property
    def template(self) -> str:
        """An agent to begin with."""
        return _PERMUTED_MNIST
