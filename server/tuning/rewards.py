"""Rewards, as OpenEnv rubrics with names: a trainer can list the parts and read each one's last value.

A rubric judges a `Transition`: where the episode stood when a reward was last paid, where it stands
now, and the score if a model was submitted. Rewards are paid for training and submitting only; the
episode does not ask for one elsewhere.
"""

import math
from dataclasses import dataclass
from typing import Any

from openenv.core.rubrics import Rubric

from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.history import Snapshot

__all__ = ["EpisodeReward", "Transition", "episode_reward"]

PROGRESS_WEIGHT = 0.3
CONVERGENCE_WEIGHT = 0.05
DIVERGENCE_PENALTY = 0.2
OVERFITTING_WEIGHT = 0.05
GAP_ALLOWED = 0.08

CHANCE_LOSS = math.log(10)
"""Loss in nats of a network that knows nothing of 10 classes: where v2's convergence starts."""

_PLACES = 6
"""Rewards are rounded to so many places, potentials before they are subtracted."""


@dataclass(frozen=True, slots=True)
class Transition:
    """What a reward is paid for.

    Attributes:
        before: Where the episode stood when a reward was last paid.
        after: Where it stands now.
        score: The grade, if a model was submitted now.
    """

    before: Snapshot
    after: Snapshot
    score: float | None = None

    @property
    def trained(self) -> bool:
        """Whether any epoch ran in between."""
        return self.after.epochs > self.before.epochs


class Part(Rubric):
    """A part of the reward: judges a transition. OpenEnv's rubric with a typed constructor."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]


class Progress(Part):
    """0.3 times the gain in best validation accuracy. Telescopes: it is a difference."""

    def forward(self, action: Any, observation: Transition) -> float:
        """Judge a transition."""
        before, after = observation.before, observation.after
        return PROGRESS_WEIGHT * (after.best_val_accuracy - before.best_val_accuracy)


class Divergence(Part):
    """Minus 0.2 for each epoch that diverged. Telescopes: a run stops at such an epoch."""

    def forward(self, action: Any, observation: Transition) -> float:
        """Judge a transition."""
        return -DIVERGENCE_PENALTY * (observation.after.divergences - observation.before.divergences)


class Submission(Part):
    """The score, when a model is submitted."""

    def forward(self, action: Any, observation: Transition) -> float:
        """Judge a transition."""
        return observation.score or 0.0


class ConvergencePerCall(Part):
    """v1: 0.05 if the validation loss ended lower than the call before left it."""

    def forward(self, action: Any, observation: Transition) -> float:
        """Judge a transition."""
        before, after = observation.before.val_loss, observation.after.val_loss
        fell = observation.trained and before is not None and after is not None and after < before
        return CONVERGENCE_WEIGHT if fell else 0.0


class OverfittingPerCall(Part):
    """v1: minus 0.05 times the train-validation gap above 0.08, for each call that trained."""

    def forward(self, action: Any, observation: Transition) -> float:
        """Judge a transition."""
        return -OVERFITTING_WEIGHT * _excess(observation.after) if observation.trained else 0.0


class ConvergencePotential(Part):
    """v2: 0.05 times the fall of the best validation loss, in nats, from chance level (ln 10) down.

    A difference of a potential (Ng, Harada & Russell 1999), so the sum does not depend on how the
    epochs were cut into calls.
    """

    def forward(self, action: Any, observation: Transition) -> float:
        """Judge a transition."""

        def height(snapshot: Snapshot) -> float:
            return round(CONVERGENCE_WEIGHT * min(snapshot.best_val_loss, CHANCE_LOSS), _PLACES)

        return height(observation.before) - height(observation.after)


class OverfittingPotential(Part):
    """v2: minus 0.05 times the change of the gap above 0.08; a gap that closes is paid back."""

    def forward(self, action: Any, observation: Transition) -> float:
        """Judge a transition."""

        def height(snapshot: Snapshot) -> float:
            return round(OVERFITTING_WEIGHT * _excess(snapshot), _PLACES)

        return height(observation.before) - height(observation.after)


class EpisodeReward(Part):
    """The sum of its parts: `progress`, `convergence`, `divergence`, `overfitting`, `submission`."""

    def __init__(self, convergence: Part, overfitting: Part) -> None:
        super().__init__()
        self.progress = Progress()
        self.convergence = convergence
        self.divergence = Divergence()
        self.overfitting = overfitting
        self.submission = Submission()

    def forward(self, action: Any, observation: Transition) -> float:
        """Judge a transition."""
        total: float = sum(part(action, observation) for part in self.children())
        return round(total, _PLACES)

    def parts(self) -> dict[str, float]:
        """What each part came to when the reward was last asked for."""
        return {name: round(part.last_score or 0.0, _PLACES) for name, part in self.named_children()}


def episode_reward(version: RubricVersion) -> EpisodeReward:
    """The reward of a rubric version."""
    if version is RubricVersion.V2:
        return EpisodeReward(ConvergencePotential(), OverfittingPotential())
    return EpisodeReward(ConvergencePerCall(), OverfittingPerCall())


def _excess(snapshot: Snapshot) -> float:
    return max(0.0, snapshot.gap - GAP_ALLOWED)
