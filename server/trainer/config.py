"""The configuration of a training run: a frozen, checked, picklable value.

It does not contain the network, the data or the budget.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Self

from ml_trainer_env.server.trainer.errors import ConfigError
from ml_trainer_env.server.trainer.limits import Limit, check_choice, check_flag, shown
from ml_trainer_env.server.trainer.schedules import LearningRatePlan, LrSchedule

__all__ = ["DIVERGED_LOSS", "LIMITS", "EpochSettings", "OptimizerKind", "TrainingConfig"]

DIVERGED_LOSS = 100.0
"""A mean training loss (nats) above this counts as divergence, if a game does not say otherwise."""


class OptimizerKind(StrEnum):
    """The available optimizers."""

    SGD = "sgd"
    """Stochastic gradient descent with momentum 0.9. Weight decay is an L2 term."""
    ADAM = "adam"
    """Adam (Kingma & Ba 2015) with betas 0.9 and 0.999. Weight decay is an L2 term."""
    ADAMW = "adamw"
    """AdamW (Loshchilov & Hutter 2019). Weight decay is separate from the gradient."""


LIMITS: Mapping[str, Limit] = {
    "learning_rate": Limit(0.0, 10.0, open_low=True),
    "batch_size": Limit(32, 256, whole=True, choices=(32, 64, 128, 256)),
    "weight_decay": Limit(0.0, 1.0),
    "dropout": Limit(0.0, 0.5),
    "warmup_epochs": Limit(0, 20, whole=True),
    "augmentation_strength": Limit(0.0, 1.0),
}
"""Bounds of every numeric setting, by name."""

_CHOICES: Mapping[str, type[StrEnum]] = {"optimizer": OptimizerKind, "lr_schedule": LrSchedule}
_FLAGS = ("augmentation",)


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """The settings of a training run.

    Every field is checked on construction.

    Attributes:
        optimizer: The optimizer.
        learning_rate: The peak learning rate. The schedule scales it.
        batch_size: Number of examples in each step.
        weight_decay: L2 strength (decoupled for adamw).
        dropout: Probability of dropping a hidden unit. It applies to every hidden layer of a perceptron, and to the
            last layer before the outputs of a CNN.
        lr_schedule: How the rate changes over the budget that was left when the schedule was set.
        warmup_epochs: Number of epochs of linear warm-up, for `warmup_cosine` only.
        augmentation: Whether training examples are transformed at random.
        augmentation_strength: Strength of the transforms: 0 for none, 1 for the strongest.

    Raises:
        ConfigError: A value is out of bounds or of the wrong type.
    """

    optimizer: OptimizerKind = OptimizerKind.ADAM
    learning_rate: float = 0.001
    batch_size: int = 64
    weight_decay: float = 0.0
    dropout: float = 0.0
    lr_schedule: LrSchedule = LrSchedule.CONSTANT
    warmup_epochs: int = 0
    augmentation: bool = False
    augmentation_strength: float = 0.5

    def __post_init__(self) -> None:
        for name, limit in LIMITS.items():
            object.__setattr__(self, name, limit.check(name, getattr(self, name)))
        for name, choices in _CHOICES.items():
            chosen = check_choice(name, getattr(self, name), tuple(choices))
            object.__setattr__(self, name, choices(chosen))
        for name in _FLAGS:
            check_flag(name, getattr(self, name))

    def with_changes(self, changes: Mapping[str, object]) -> Self:
        """Return a copy with some settings replaced. All settings are checked.

        Raises:
            ConfigError: A name is unknown or a value is out of bounds.
        """
        known = {field.name for field in fields(self)}
        for name in changes:
            if name not in known:
                raise ConfigError(f"unknown setting {shown(name)}; the settings are {', '.join(sorted(known))}")
        return replace(self, **changes)  # type: ignore[arg-type]  # checked in __post_init__


@dataclass(frozen=True, slots=True)
class EpochSettings:
    """The settings of an epoch, without its state and data.

    Attributes:
        config: The configuration.
        plan: The learning rate of each epoch.
        diverged_above: A mean training loss (nats) above this counts as divergence. One that is not finite always does.
    """

    config: TrainingConfig
    plan: LearningRatePlan
    diverged_above: float = DIVERGED_LOSS
