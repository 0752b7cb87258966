"""A model by its lineage: what it was drawn from and what it was trained with. A light value.

The arrays are held only while somebody needs them; they can be had again from the lineage.
"""

from dataclasses import dataclass, replace
from typing import Self

from ml_trainer_env.server.trainer.config import TrainingConfig
from ml_trainer_env.server.trainer.metrics import EpochMetrics
from ml_trainer_env.server.trainer.schedules import LearningRatePlan
from ml_trainer_env.server.trainer.state import FreshState, TrainingState

__all__ = ["Model", "TrainedEpoch"]


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A training state that may not be in memory.

    Attributes:
        key: Names it; see `trainer.lineage`.
        identity: Key of the `Identity` that it was trained under, "" if that was not recorded or it was not trained.
        epoch: Where its training stands.
        weights_hash: SHA-256 of its weights, None for fresh ones that were not drawn yet.
        fresh: What it is drawn from, None for a model that was trained.
        parent: What it was trained from for an epoch.
        config: The settings of that epoch.
        plan: Its learning-rate plan.
        state: The arrays, if they are held.
    """

    key: str
    epoch: int
    weights_hash: str | None = None
    fresh: FreshState | None = None
    parent: "Model | None" = None
    config: TrainingConfig | None = None
    plan: LearningRatePlan | None = None
    state: TrainingState | None = None
    identity: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class TrainedEpoch:
    """What an epoch came to.

    Attributes:
        model: The model after it.
        metrics: Its figures.
        seconds: Wall time it took when it was trained.
        from_cache: Whether it had been trained before.
    """

    model: Model
    metrics: EpochMetrics
    seconds: float
    from_cache: bool

    def without_state(self) -> Self:
        """The same without the model's arrays, for whoever keeps many."""
        return replace(self, model=replace(self.model, state=None))
