"""Rewards as OpenEnv rubrics. The parts have names, so a trainer can read the last value of each.

A rubric computes a reward from a `Transition`: the snapshot at the last reward, the current one, and the score if a
model was submitted. Only training and submitting pay rewards.
"""

import math
from dataclasses import dataclass
from typing import Any

from ml_trainer_env.server.episodes.reward import EpisodeReward, Part
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.history import Snapshot

__all__ = ["Transition", "episode_reward"]

PROGRESS_WEIGHT = 0.3
SHAPING_WEIGHT = 0.05
CONVERGENCE_WEIGHT = 0.05
DIVERGENCE_PENALTY = 0.2
OVERFITTING_WEIGHT = 0.05
GAP_ALLOWED = 0.08

CHANCE_LOSS = math.log(10)
"""Loss in nats of random guesses among 10 classes. The convergence part of v2 starts here."""

_PLACES = 6
"""Decimal places of rewards. Potentials are rounded before they are subtracted."""


@dataclass(frozen=True, slots=True)
class Transition:
    """The input of a reward.

    Attributes:
        before: The snapshot at the last reward.
        after: The current snapshot.
        score: The score, if a model was submitted now.
    """

    before: Snapshot
    after: Snapshot
    score: float | None = None

    @property
    def trained(self) -> bool:
        """Whether an epoch ran since the last reward."""
        return self.after.epochs > self.before.epochs


class Progress(Part):
    """A multiple of the gain in best validation accuracy. The sum depends only on the final accuracy.

    Args:
        weight: The factor: 0.3 in v1 and v2, 0.05 for hidden grades.
    """

    def __init__(self, weight: float = PROGRESS_WEIGHT) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, action: Any, observation: Transition) -> float:
        """Judge a transition."""
        before, after = observation.before, observation.after
        return self.weight * (after.best_val_accuracy - before.best_val_accuracy)


class Divergence(Part):
    """Minus 0.2 for each epoch that diverged."""

    def forward(self, action: Any, observation: Transition) -> float:
        """Judge a transition."""
        return -DIVERGENCE_PENALTY * (observation.after.divergences - observation.before.divergences)


class Submission(Part):
    """The score, when a model is submitted."""

    def forward(self, action: Any, observation: Transition) -> float:
        """Judge a transition."""
        return observation.score or 0.0


class ConvergencePerCall(Part):
    """v1: 0.05 if the validation loss is lower than after the previous call."""

    def forward(self, action: Any, observation: Transition) -> float:
        """Judge a transition."""
        before, after = observation.before.val_loss, observation.after.val_loss
        fell = observation.trained and before is not None and after is not None and after < before
        return CONVERGENCE_WEIGHT if fell else 0.0


class OverfittingPerCall(Part):
    """v1: minus 0.05 times the train-validation gap above 0.08, for each call that trains."""

    def forward(self, action: Any, observation: Transition) -> float:
        """Judge a transition."""
        return -OVERFITTING_WEIGHT * _excess(observation.after) if observation.trained else 0.0


class ConvergencePotential(Part):
    """v2: 0.05 times the decrease of the best validation loss, in nats, below chance level (ln 10).

    It is a difference of potentials (Ng, Harada & Russell 1999). So the sum does not depend on how the epochs are
    split into calls.
    """

    def forward(self, action: Any, observation: Transition) -> float:
        """Judge a transition."""

        def height(snapshot: Snapshot) -> float:
            return round(CONVERGENCE_WEIGHT * min(snapshot.best_val_loss, CHANCE_LOSS), _PLACES)

        return height(observation.before) - height(observation.after)


class OverfittingPotential(Part):
    """v2: minus 0.05 times the change of the gap above 0.08. A smaller gap gives a positive reward."""

    def forward(self, action: Any, observation: Transition) -> float:
        """Judge a transition."""

        def height(snapshot: Snapshot) -> float:
            return round(OVERFITTING_WEIGHT * _excess(snapshot), _PLACES)

        return height(observation.before) - height(observation.after)


def episode_reward(version: RubricVersion) -> EpisodeReward:
    """Return the reward of a rubric version.

    v1 and v2 have the parts `progress`, `convergence`, `divergence`, `overfitting` and `submission`. v3 and `accuracy`
    have `progress`, a potential of 0.05 in all, and `submission`.
    """
    if version.is_hidden:
        return EpisodeReward(progress=Progress(SHAPING_WEIGHT), submission=Submission())
    per_call = version is RubricVersion.V1
    return EpisodeReward(
        progress=Progress(),
        convergence=ConvergencePerCall() if per_call else ConvergencePotential(),
        divergence=Divergence(),
        overfitting=OverfittingPerCall() if per_call else OverfittingPotential(),
        submission=Submission(),
    )


def _excess(snapshot: Snapshot) -> float:
    return max(0.0, snapshot.gap - GAP_ALLOWED)
