"""Kinds of competition, and the methods that each requires of an agent."""

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


_TWO_PLAYERS = '''import random


class Agent:
    def __init__(self, seed=None):
        self.random = random.Random(seed)

    def reset(self):
        """A match begins."""

    def act(self, observation):
        """A move that is allowed."""
        mask = observation["action_mask"]
        return self.random.choice([move for move, allowed in enumerate(mask) if allowed])
'''


class Kernel(StrEnum):
    """A kind of competition."""

    PERMUTED_MNIST = "permuted_mnist"
    """Train and predict on permuted MNIST within a minute."""

    GYMNASIUM = "gymnasium"
    """Act in an environment that the creator uploads. The reward of a run is the sum over its episode."""

    TWO_PLAYERS = "two_players"
    """Play matches against other submissions in a game that the creator uploads. Ratings follow from all matches."""

    @property
    def needs_env(self) -> bool:
        """Whether the creator must upload the environment, `env.py`."""
        return self is not Kernel.PERMUTED_MNIST

    @property
    def has_matches(self) -> bool:
        """Whether submissions meet, and are ranked by ratings."""
        return self is Kernel.TWO_PLAYERS

    @property
    def methods(self) -> tuple[tuple[str, ...], ...]:
        """Required methods of an agent: at least one of each group."""
        return (("train",), ("predict",)) if self is Kernel.PERMUTED_MNIST else (("act", "predict"),)

    @property
    def template(self) -> str:
        """Source of a minimal agent."""
        return {Kernel.GYMNASIUM: _GYMNASIUM, Kernel.TWO_PLAYERS: _TWO_PLAYERS}.get(self, _PERMUTED_MNIST)
