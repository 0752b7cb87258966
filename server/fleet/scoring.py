"""Score and reward of a fleet episode.

The score says which share of the harm was repaired. It lies between two runs of the same seed that the server trains
itself: one in which nobody acts, and one without faults. The reward on the way is a difference of potentials (Ng,
Harada & Russell 1999) that is zero at the end, so the rewards of an episode sum to its score.
"""

from dataclasses import dataclass
from typing import Any

from ml_trainer_env.server.episodes.reward import EpisodeReward, Part
from ml_trainer_env.server.trainer.fleet.figures import CHANCE_LOSS

__all__ = ["HARMLESS_RANGE", "LEAST_EFFECT", "References", "Transition", "fleet_reward", "potential", "score"]

LEAST_EFFECT = 0.03
"""A harm smaller than this many nats counts as none: about four deviations between seeds."""

HARMLESS_RANGE = 0.1
"""Where nothing is wrong, a run that is worse by this many nats scores 0."""

SHAPING_WEIGHT = 0.02
"""Reward of a nat of training loss on the way. It is paid back at the end."""

_PLACES = 6


@dataclass(frozen=True, slots=True)
class References:
    """The two runs that a score lies between, as held-out losses in nats a character.

    Attributes:
        nothing_loss: Nobody acts.
        clean_loss: Nobody acts, and nothing goes wrong but what is harmless.
    """

    nothing_loss: float
    clean_loss: float

    @property
    def effect(self) -> float:
        """The harm of doing nothing."""
        return self.nothing_loss - self.clean_loss


def score(loss: float, references: References) -> float:
    """Return the score of a held-out loss, 0 to 1, rounded to 6 places.

    Where the faults do harm: the share of it that was repaired. Else: 1 minus ten times what the loss is above that of
    doing nothing.
    """
    if references.effect >= LEAST_EFFECT:
        share = (references.nothing_loss - loss) / references.effect
    else:
        share = 1 - (loss - references.nothing_loss) / HARMLESS_RANGE
    return round(min(1.0, max(0.0, share)), _PLACES)


def potential(recent_loss: float | None) -> float:
    """Return the potential of a run: 0.02 times what its training loss is below chance level, in nats.

    Args:
        recent_loss: Mean loss of the last steps. None before the first.
    """
    if recent_loss is None or not recent_loss < CHANCE_LOSS:
        return 0.0
    return round(SHAPING_WEIGHT * (CHANCE_LOSS - recent_loss), _PLACES)


@dataclass(frozen=True, slots=True)
class Transition:
    """The input of a reward.

    Attributes:
        before: The potential when a reward was paid last.
        after: The potential now. 0 at the end.
        score: The score, if the episode ends now.
    """

    before: float
    after: float
    score: float | None = None


class Progress(Part):
    """The difference of potentials."""

    def forward(self, action: Any, observation: Transition) -> float:
        """Judge a transition."""
        return observation.after - observation.before


class Submission(Part):
    """The score, at the end."""

    def forward(self, action: Any, observation: Transition) -> float:
        """Judge a transition."""
        return observation.score or 0.0


def fleet_reward() -> EpisodeReward:
    """Return the reward: the sum of `progress` and `submission`."""
    return EpisodeReward(progress=Progress(), submission=Submission())
