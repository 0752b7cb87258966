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
        """Learn from images (60000, 28, 28), uint8 from 0 to 255, and labels (60000, 1)."""

    def predict(self, X_test):
        """A label for each of the images (10000, 28, 28)."""
        return np.zeros(len(X_test), int)
'''

_GYMNASIUM = '''class Agent:
    def __init__(self, seed=None):
        pass

    def reset(self):
        """An episode begins."""

    def act(self, observation):
        """An action for an observation."""
        return 0
'''


class Kernel(StrEnum):
    """A kind of competition."""

    PERMUTED_MNIST = "permuted_mnist"
    """Train and predict within a minute, on permuted MNIST."""

    GYMNASIUM = "gymnasium"
    """Act in an environment that the creator brings; the reward is the sum of an episode's."""

    @property
    def needs_env(self) -> bool:
        """Whether the creator brings the environment, `env.py`."""
        return self is Kernel.GYMNASIUM

    @property
    def methods(self) -> tuple[tuple[str, ...], ...]:
        """What an agent must have: of each group one method."""
        return (("act", "predict"),) if self is Kernel.GYMNASIUM else (("train",), ("predict",))

    @property
    def template(self) -> str:
        """An agent to begin with."""
        return _GYMNASIUM if self is Kernel.GYMNASIUM else _PERMUTED_MNIST
