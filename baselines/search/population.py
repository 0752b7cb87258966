"""Population-based training (Jaderberg et al. 2017, Population based training of neural networks) on forks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Self

from ml_trainer_env.baselines.agent import Call
from ml_trainer_env.baselines.forks import Sessions
from ml_trainer_env.baselines.search.agent import seed_of
from ml_trainer_env.baselines.search.space import Configuration, Range, Space
from ml_trainer_env.baselines.search.trials import (
    CONFIGURE,
    Contender,
    Part,
    carry_out,
    finish,
    keep,
    run_for,
    save_start,
)
from ml_trainer_env.baselines.session import Brief, GameSession

__all__ = ["PopulationAgent", "Schedule", "explore"]

MEMBER = "member"

SHARE = 0.5
"""Share of the budget for the population."""

LARGEST = 8
"""Members at most."""

TRUNCATED = 0.25
"""Share of members, one at least, that the best such share replaces after each round (truncation selection)."""

FACTORS = (0.8, 1.2)
"""A number of a copied configuration is multiplied by one of these."""

RESAMPLED = 0.25
"""Probability that a setting of a copied configuration is drawn anew instead."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a population spends its budget.

    Attributes:
        members: Number of members.
        rounds: Rounds of training. After each but the last, the worst members are replaced.
        epochs: Epochs of each member in a round.
        rest: Epochs that are left for the best member.
    """

    members: int
    rounds: int
    epochs: int
    rest: int

    @classmethod
    def of(cls, budget: int, share: float = SHARE) -> Self:
        """Split a budget: as many rounds as members, if it comes out even."""
        spent = max(1, int(share * budget))
        members = max(1, min(LARGEST, round(math.sqrt(spent))))
        rounds = max(1, min(members + 1, spent // members))
        epochs = max(1, spent // (members * rounds))
        return cls(members, rounds, epochs, budget - members * rounds * epochs)


@dataclass(frozen=True, slots=True)
class _Member:
    """A branch, and what it came to."""

    session: GameSession[Brief]
    contender: Contender

    @property
    def worth(self) -> float:
        return self.contender.reading.worth


class PopulationAgent:
    """Trains a population on forks of one episode; the worst members become perturbed copies of the best ones.

    The budget: the sum of the epochs that all branches train themselves is at most the budget of one episode, though
    each fork would have more left. Half of it is spent by the population: about the square root of so many members, in
    about as many rounds. The best member then trains for the other half alone, while its rate is annealed. Since a
    branch spends only a part of the budget, it may not live to see what changes late in an episode.

    Args:
        name: Short name.
        default_first: Whether the first member begins with the default configuration. All others are drawn at random.
        share: Share of the budget for the population.
        seed: Fixes all draws, together with the task and the seed of the episode.
    """

    def __init__(self, name: str = "pbt", *, default_first: bool = True, share: float = SHARE, seed: int = 0) -> None:
        self.name = name
        self._default_first = default_first
        self._share = share
        self._seed = seed

    def play(self, sessions: Sessions[Brief]) -> GameSession[Brief]:
        """Play, and submit the best member's model; see `ForkingAgent`."""
        root = sessions.begin()
        brief = root.brief
        source, space = Random(seed_of(self._seed, brief)), Space.of(brief)
        schedule = Schedule.of(brief.budget_epochs, self._share)
        default = carry_out(save_start(), root)
        branches = [root, *(sessions.fork(root) for _ in range(schedule.members - 1))]
        drawn = [space.configuration(space.sample(source)) for _ in branches]
        if self._default_first:
            drawn[0] = default
        members = [
            _train(branch, brief, configuration, schedule.epochs)
            for branch, configuration in zip(branches, drawn, strict=True)
        ]
        for _ in range(schedule.rounds - 1):
            members = [
                _train(branch, brief, configuration, schedule.epochs)
                for branch, configuration in _select(members, sessions, space, source)
            ]
        best = max(members, key=lambda member: member.worth)
        for member in members:
            if member is not best:
                sessions.discard(member.session)
        carry_out(_finish(brief, best.contender, schedule.rest), best.session)
        return best.session


def _train(session: GameSession[Brief], brief: Brief, configuration: Configuration, epochs: int) -> _Member:
    def script() -> Part[Contender]:
        yield Call(CONFIGURE, configuration.arguments())
        return Contender(configuration, (yield from run_for(brief, epochs)))

    return _Member(session, carry_out(script(), session))


def _select(
    members: Sequence[_Member], sessions: Sessions[Brief], space: Space, source: Random
) -> list[tuple[GameSession[Brief], Configuration]]:
    """Replace the worst members, and all that diverged, by perturbed copies of the best ones.

    Returns:
        The branch of each member of the next round, and its configuration.
    """
    ranked = sorted(members, key=lambda member: member.worth, reverse=True)
    count = max(1, int(TRUNCATED * len(ranked)))
    best = [member for member in ranked[:count] if not member.contender.reading.diverged]
    following = []
    for place, member in enumerate(ranked):
        is_bad = place >= max(1, len(ranked) - count) or member.contender.reading.diverged
        configuration = member.contender.configuration
        if not is_bad:
            following.append((member.session, configuration.continued(configuration.lr_schedule)))
        elif best:
            parent = source.choice(best)
            branch = sessions.fork(parent.session)
            sessions.discard(member.session)
            following.append((branch, explore(parent.contender.configuration, space, source)))
        else:
            drawn = space.configuration(space.sample(source))
            following.append((member.session, replace(drawn, fresh=True)))
    return following


def explore(configuration: Configuration, space: Space, source: Random) -> Configuration:
    """Perturb a copied configuration: each number is multiplied by 0.8 or 1.2, or drawn anew. It keeps the weights.

    The optimizer stays, since its state is copied with the weights; the batch size changes only when drawn anew.
    """
    point: dict[str, float | int] = dict(space.point(configuration))
    for name, dimension in space.dimensions.items():
        if name == "optimizer":
            continue
        if source.random() < RESAMPLED:
            point[name] = dimension.sample(source)
        elif isinstance(dimension, Range):
            point[name] = dimension.clip(point[name] * source.choice(FACTORS))
    return replace(space.configuration(point), fresh=False)


def _finish(brief: Brief, best: Contender, rest: int) -> Part[None]:
    kept = yield from keep(best, MEMBER)
    yield from finish(brief, kept if kept.checkpoint else None, best.reading.left, rest)
