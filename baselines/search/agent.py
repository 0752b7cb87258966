"""The agent that searches: trials of what somebody proposes, then the best of them to the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from ml_trainer_env.baselines.agent import Script
from ml_trainer_env.baselines.search.proposers import Propose
from ml_trainer_env.baselines.search.space import Space
from ml_trainer_env.baselines.search.trials import Contender, finish, keep, save_start, train_with
from ml_trainer_env.baselines.session import Brief, CallRefusedError, ToolSpec

__all__ = ["SPLIT", "SearchAgent", "Split", "seed_of"]

WINNER = "winner"


@dataclass(frozen=True, slots=True)
class Split:
    """How a budget is split into trials and the training of the winner.

    Attributes:
        share: Share of the budget for trials, at most.
        most_trials: Trials at most. What is left of the share makes them longer.
    """

    share: float = 0.5
    most_trials: int = 6

    def of(self, budget: int) -> tuple[int, int]:
        """Return the number of trials and the epochs of each. There is at least one trial of one epoch."""
        epochs = int(self.share * budget)
        trials = max(1, min(self.most_trials, epochs))
        return trials, max(1, epochs // trials)


SPLIT = Split()


class SearchAgent:
    """Tries configurations for a few epochs each, and goes on with the best.

    The budget: at most half of it is spent on at most 6 trials of equal length, of one epoch at least: 2 trials of one
    epoch in a budget of 4, 6 of one in a budget of 20, 6 of 5 in a budget of 60. Each trial begins with the weights
    that the agent was given, or with fresh ones if its configuration says so. The one of the best validation figure is
    continued from its checkpoint for all epochs that are left, while its rate is annealed.

    Args:
        name: Short name.
        propose: Creates who proposes.
        default_first: Whether the first trial is the default configuration.
        split: How the budget is split.
        seed: Fixes the proposals, together with the task and the seed of the episode.

    Attributes:
        propose: Creates who proposes.
    """

    def __init__(
        self, name: str, propose: Propose, *, default_first: bool = True, split: Split = SPLIT, seed: int = 0
    ) -> None:
        self.name = name
        self.propose = propose
        self._default_first = default_first
        self._split = split
        self._seed = seed

    def script(self, brief: Brief, tools: Sequence[ToolSpec]) -> Script:
        """Play an episode. A refused training call ends the script."""
        try:
            yield from self._play(brief)
        except CallRefusedError:
            return

    def _play(self, brief: Brief) -> Script:
        proposer = self.propose(brief, Space.of(brief), seed_of(self._seed, brief))
        default = yield from save_start()
        trials, epochs = self._split.of(brief.budget_epochs)
        winner: Contender | None = None
        left = brief.budget_epochs
        for number in range(trials):
            is_default = self._default_first and number == 0
            configuration = default if is_default else proposer.ask()
            reason = f"trial {number + 1} of {trials}: {'the default' if is_default else 'proposed'}"
            contender = yield from train_with(brief, configuration, epochs, reason)
            left = contender.reading.left
            proposer.tell(configuration, contender.reading.worth)
            if not contender.reading.diverged and (winner is None or contender.reading.worth > winner.reading.worth):
                winner = yield from keep(contender, WINNER)
            if left == 0:  # the seconds of a time limit are spent
                break
        yield from finish(brief, winner, left)


def seed_of(seed: int, brief: Brief) -> int:
    """Return the seed of an agent's own randomness in an episode."""
    return Random(f"{seed}/{brief.task_id}/{brief.seed}").getrandbits(31)
