"""Who proposes configurations: the protocol of all searches, and the proposer that draws at random."""

from collections.abc import Callable
from random import Random
from typing import Protocol

from ml_trainer_env.baselines.search.space import Configuration, Space
from ml_trainer_env.baselines.session import Brief

__all__ = ["Propose", "Proposer", "RandomProposer", "random_proposer"]


class Proposer(Protocol):
    """Proposes configurations, one after another, and is told what they came to."""

    def ask(self) -> Configuration:
        """Propose a configuration."""

    def tell(self, configuration: Configuration, value: float) -> None:
        """Tell what a configuration came to.

        Args:
            configuration: The configuration. It need not be the one that was proposed: a search begins with the
                default one, and a proposal may be overruled.
            value: Its validation figure; larger is better. Minus infinity if training diverged.
        """


Propose = Callable[[Brief, Space, int], Proposer]
"""Creates the proposer of an episode from its brief, the space and a seed."""


class RandomProposer:
    """Draws configurations and learns nothing (Bergstra and Bengio 2012, Random search for hyper-parameters).

    Args:
        space: The space.
        seed: Fixes the draws.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._source = Random(seed)

    def ask(self) -> Configuration:
        """Draw a configuration."""
        return self._space.configuration(self._space.sample(self._source))

    def tell(self, configuration: Configuration, value: float) -> None:
        """Do nothing."""


def random_proposer(_brief: Brief, space: Space, seed: int) -> RandomProposer:
    """Create a proposer that draws at random; see `Propose`."""
    return RandomProposer(space, seed)
