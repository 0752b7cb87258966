"""Successive halving (Jamieson and Talwalkar 2016) on checkpoints: the better half of the contenders trains on."""

from collections.abc import Sequence
from itertools import count

from ml_trainer_env.baselines.agent import Call, Script
from ml_trainer_env.baselines.search.agent import seed_of
from ml_trainer_env.baselines.search.proposers import Propose, random_proposer
from ml_trainer_env.baselines.search.space import Space
from ml_trainer_env.baselines.search.trials import (
    CONFIGURE,
    Contender,
    Part,
    finish,
    keep,
    restore,
    run_for,
    save_start,
    train_with,
)
from ml_trainer_env.baselines.session import Brief, CallRefusedError, ToolSpec

__all__ = ["HalvingAgent", "rungs_of"]

SHARE = 0.5
"""Share of the budget for rungs."""

SIZES = (8, 4, 2)
"""Numbers of contenders of the first rung. There are 10 checkpoints, and two of them are taken."""


def rungs_of(budget: int, share: float = SHARE) -> tuple[int, int]:
    """Return the number of contenders of the first rung, and the epochs of each of them in it.

    With n contenders there are log2(n) rungs. After each of them a contender has trained twice as long as after the one
    before. So with e epochs in the first rung, the first one costs n e epochs and each further one half as many.
    """
    epochs = share * budget
    for size in SIZES:
        cost = size + (size.bit_length() - 2) * size // 2
        if cost <= epochs:
            return size, int(epochs // cost)
    return min(2, budget), 1


class HalvingAgent:
    """Lets contenders train, drops the worse half, and lets the others go on from their checkpoints, for as long again.

    The budget: at most half of it is spent on rungs, by 2 contenders in budgets under 12 epochs, 4 from 12 on and 8
    from 32 on. The last one is continued for all epochs that are left, while its rate is annealed.

    Args:
        name: Short name.
        propose: Creates who proposes contenders. It is told what they came to in the first rung.
        default_first: Whether the first contender is the default configuration.
        seed: Fixes the proposals, together with the task and the seed of the episode.
    """

    def __init__(
        self,
        name: str = "halving",
        propose: Propose = random_proposer,
        *,
        default_first: bool = True,
        share: float = SHARE,
        seed: int = 0,
    ) -> None:
        self.name = name
        self._propose = propose
        self._default_first = default_first
        self._share = share
        self._seed = seed

    def script(self, brief: Brief, tools: Sequence[ToolSpec]) -> Script:
        """Play an episode. A refused training call ends the script."""
        try:
            contenders, left = yield from self._first_rung(brief)
            for rung in count(1):
                contenders = sorted(contenders, key=lambda one: one.reading.worth, reverse=True)
                contenders = contenders[: max(1, len(contenders) // 2)]
                if len(contenders) <= 1 or left == 0:
                    break
                contenders, left = yield from self._rung(brief, contenders, rung)
            yield from finish(brief, contenders[0] if contenders else None, left)
        except CallRefusedError:
            return

    def _first_rung(self, brief: Brief) -> Part[tuple[list[Contender], int]]:
        proposer = self._propose(brief, Space.of(brief), seed_of(self._seed, brief))
        default = yield from save_start()
        size, epochs = rungs_of(brief.budget_epochs, self._share)
        found: list[Contender] = []
        left = brief.budget_epochs
        for number in range(size):
            is_default = self._default_first and number == 0
            configuration = default if is_default else proposer.ask()
            contender = yield from train_with(brief, configuration, epochs, f"contender {number + 1} of {size}")
            proposer.tell(configuration, contender.reading.worth)
            left = contender.reading.left
            if not contender.reading.diverged:
                found.append((yield from keep(contender, f"contender-{number + 1}")))
            if left == 0:
                break
        return found, left

    def _rung(self, brief: Brief, contenders: Sequence[Contender], rung: int) -> Part[tuple[list[Contender], int]]:
        _, epochs = rungs_of(brief.budget_epochs, self._share)
        found: list[Contender] = []
        left = contenders[0].reading.left
        for contender in contenders:
            yield from restore(contender)
            configuration = contender.configuration.continued(contender.configuration.lr_schedule)
            yield Call(CONFIGURE, configuration.arguments(), f"rung {rung + 1}")
            reading = yield from run_for(brief, epochs * 2 ** (rung - 1))
            left = reading.left
            if not reading.diverged:
                found.append((yield from keep(Contender(configuration, reading), contender.checkpoint)))
        return found, left
