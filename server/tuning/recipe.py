"""The plans of the tuning game's units: the recipe of an epoch, and the measurement on the test images."""

from dataclasses import dataclass

from ml_trainer_env.server.episodes.states import StateRef
from ml_trainer_env.server.trainer.arrays import State
from ml_trainer_env.server.trainer.changes import TrainingData
from ml_trainer_env.server.trainer.config import DIVERGED_LOSS, EpochSettings, TrainingConfig
from ml_trainer_env.server.trainer.figures import Figures
from ml_trainer_env.server.trainer.lineage import epoch_key, fresh_key
from ml_trainer_env.server.trainer.metrics import EPOCH_FIGURES
from ml_trainer_env.server.trainer.schedules import LearningRatePlan
from ml_trainer_env.server.trainer.state import FreshState, TrainingState, weights_hash

__all__ = ["Measurement", "Recipe", "fresh_ref"]

_JOBS = "ml_trainer_env.server.trainer.jobs"
_PREPARE = "ml_trainer_env.server.trainer.data:prepare"


def fresh_ref(fresh: FreshState) -> StateRef:
    """Return a reference to initial weights. They are drawn where the first epoch is trained."""
    return StateRef(fresh_key(fresh), fresh.epoch, initial=fresh.to_state())


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """The plan of epochs; see `UnitPlan`.

    Attributes:
        config: The settings.
        plan: The learning rate by epoch.
        data: The images.
        label: The split of the task, for the metrics.
        diverged_above: A mean training loss (nats) above this counts as divergence.
    """

    config: TrainingConfig
    plan: LearningRatePlan
    data: TrainingData
    label: str = "train"
    diverged_above: float = DIVERGED_LOSS

    @property
    def function(self) -> str:
        """Reference of the job function."""
        return f"{_JOBS}:train_epoch"

    @property
    def prepare(self) -> str:
        """Reference of the function that prepares the data."""
        return _PREPARE

    @property
    def settings(self) -> EpochSettings:
        """The settings of the job."""
        return EpochSettings(self.config, self.plan, self.diverged_above)

    @property
    def unit(self) -> str:
        """The noun for a unit in messages."""
        return "epoch"

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of an epoch's figures."""
        return EPOCH_FIGURES

    def key(self, identity: str, before: str, position: int) -> str:
        """Return the key of the state after an epoch; see `trainer.lineage`."""
        rate = self.plan.rate_at(position)
        return epoch_key(identity, before, self.config, rate, self.data.key, self.diverged_above)

    def digest(self, state: State) -> str:
        """Compute the hash of the weights."""
        return weights_hash(TrainingState.from_state(state))

    def ends(self, figures: Figures) -> bool:
        """Whether the epoch diverged."""
        return bool(figures["diverged"])


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """The plan of a measurement on the test examples; see `MeasurementPlan`.

    Attributes:
        data: The examples.
        prefix: The figures are `<prefix>_accuracy` and `<prefix>_loss`. None for `test_accuracy` alone.
    """

    data: TrainingData
    prefix: str | None = None

    @property
    def function(self) -> str:
        """Reference of the job function."""
        return f"{_JOBS}:{'measure_test_accuracy' if self.prefix is None else 'measure_hidden'}"

    @property
    def prepare(self) -> str:
        """Reference of the function that prepares the data."""
        return _PREPARE

    @property
    def settings(self) -> str | None:
        """The prefix of the figures."""
        return self.prefix

    @property
    def unit(self) -> str:
        """The noun for a unit in messages."""
        return "epoch"

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of the measured figures."""
        return ("test_accuracy",) if self.prefix is None else (f"{self.prefix}_accuracy", f"{self.prefix}_loss")
