"""The space of settings that agents search, and a configuration in it. Pure.

A point names a value for each dimension: a number of a range, or the index of an option. Samplers need no more than
points. Two choices keep the space small and the same for all samplers:

- One learning rate for all optimizers, in AdamW's units. The rate of SGD is ten times as large.
- No schedule. Trials are short and use a constant rate; whoever wins is annealed over the rest of the budget.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Self

from ml_trainer_env.baselines.session import Brief

__all__ = ["Configuration", "Dimension", "Options", "Point", "Range", "Space"]

Point = Mapping[str, float | int]
"""A number for each range, and an index for each of the options, by name."""

_SGD_FACTOR = 10.0
_LEAST_STRENGTH = 0.05
"""Augmentation that is weaker is off."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """Settings of a trial, as `configure_training` takes them.

    Attributes:
        optimizer: `sgd`, `adam` or `adamw`.
        learning_rate: The rate, in the optimizer's own units.
        batch_size: 32, 64, 128 or 256.
        weight_decay: 0 to 1.
        dropout: 0 to 0.5.
        augmentation_strength: 0 to 1; augmentation is off at 0.
        fresh: Whether to begin with fresh weights in place of the weights that the agent was given.
        lr_schedule: `constant`, `step`, `cosine` or `warmup_cosine`.
        warmup_epochs: For `warmup_cosine` only.
    """

    optimizer: str
    learning_rate: float
    batch_size: int
    weight_decay: float
    dropout: float
    augmentation_strength: float
    fresh: bool
    lr_schedule: str = "constant"
    warmup_epochs: int = 0

    @classmethod
    def default(cls, settings: Mapping[str, Any]) -> Self:
        """Return the default configuration: the settings that the episode begins with, and its weights.

        Args:
            settings: The field `configuration` of a reply, before anything was changed.
        """
        return cls(
            optimizer=str(settings["optimizer"]),
            learning_rate=float(settings["learning_rate"]),
            batch_size=int(settings["batch_size"]),
            weight_decay=float(settings["weight_decay"]),
            dropout=float(settings["dropout"]),
            augmentation_strength=float(settings["augmentation_strength"]) if settings["augmentation"] else 0.0,
            fresh=False,
            lr_schedule=str(settings["lr_schedule"]),
            warmup_epochs=int(settings["warmup_epochs"]),
        )

    def arguments(self) -> dict[str, object]:
        """The arguments of `configure_training`."""
        return {
            "optimizer": self.optimizer,
            "learning_rate": self.learning_rate,
            "batch_size": self.batch_size,
            "weight_decay": self.weight_decay,
            "dropout": self.dropout,
            "lr_schedule": self.lr_schedule,
            "warmup_epochs": self.warmup_epochs,
            "augmentation": self.augmentation_strength > 0,
            "augmentation_strength": self.augmentation_strength,
            "reinitialize": self.fresh,
        }

    def continued(self, lr_schedule: str) -> Self:
        """Get the same settings for more epochs of the same weights, with another schedule."""
        return replace(self, fresh=False, lr_schedule=lr_schedule, warmup_epochs=0)


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included. `log` if factors matter and not differences."""

    low: float
    high: float
    log: bool = False

    def sample(self, source: Random) -> float:
        """Draw a number, uniformly or log-uniformly."""
        if self.log:
            return self.clip(math.exp(source.uniform(math.log(self.low), math.log(self.high))))
        return source.uniform(self.low, self.high)

    def clip(self, value: float) -> float:
        """Return the nearest number of the range."""
        return min(self.high, max(self.low, value))


@dataclass(frozen=True, slots=True)
class Options:
    """A choice. Values that are ordered come in order."""

    values: tuple[Any, ...]

    def sample(self, source: Random) -> int:
        """Draw an index."""
        return source.randrange(len(self.values))

    def index_of(self, value: object) -> int:
        """Return the index of a value, or 0 if it is none of the options."""
        return self.values.index(value) if value in self.values else 0


Dimension = Range | Options

_RATE = Range(1e-3, 3e-2, log=True)
_DECAY = Range(1e-4, 0.3, log=True)
_DROPOUT = Range(0.0, 0.5)
_STRENGTH = Range(0.0, 1.0)
_OPTIMIZERS = Options(("adamw", "sgd"))
_FRESH = Options((False, True))


@dataclass(frozen=True, slots=True)
class Space:
    """The search space of a task.

    Attributes:
        batches: The batch sizes.
    """

    batches: Options

    @classmethod
    def of(cls, brief: Brief) -> Self:
        """Return the space of a task: no batch is larger than it allows."""
        return cls(Options(tuple(size for size in (32, 64, 128) if size <= brief.largest_batch)))

    @property
    def dimensions(self) -> Mapping[str, Dimension]:
        """The dimensions by name, in a fixed order."""
        return {
            "rate": _RATE,
            "weight_decay": _DECAY,
            "dropout": _DROPOUT,
            "strength": _STRENGTH,
            "batch": self.batches,
            "optimizer": _OPTIMIZERS,
            "fresh": _FRESH,
        }

    def sample(self, source: Random) -> Point:
        """Draw a point."""
        return {name: dimension.sample(source) for name, dimension in self.dimensions.items()}

    def configuration(self, point: Point) -> Configuration:
        """Return the configuration of a point. Numbers are rounded to three digits, and never leave the space."""
        optimizer = _OPTIMIZERS.values[int(point["optimizer"])]
        rate = _RATE.clip(_rounded(point["rate"]))
        strength = _rounded(point["strength"])
        return Configuration(
            optimizer=optimizer,
            learning_rate=_rounded(rate * _SGD_FACTOR) if optimizer == "sgd" else rate,
            batch_size=self.batches.values[int(point["batch"])],
            weight_decay=_DECAY.clip(_rounded(point["weight_decay"])),
            dropout=_DROPOUT.clip(_rounded(point["dropout"])),
            augmentation_strength=strength if strength >= _LEAST_STRENGTH else 0.0,
            fresh=_FRESH.values[int(point["fresh"])],
        )

    def point(self, configuration: Configuration) -> Point:
        """Return the point of a configuration. What lies outside of the space is moved to its border."""
        is_sgd = configuration.optimizer == "sgd"
        rate = configuration.learning_rate / (_SGD_FACTOR if is_sgd else 1.0)
        return {
            "rate": _RATE.clip(rate),
            "weight_decay": _DECAY.clip(configuration.weight_decay),
            "dropout": _DROPOUT.clip(configuration.dropout),
            "strength": _STRENGTH.clip(configuration.augmentation_strength),
            "batch": self.batches.index_of(configuration.batch_size),
            "optimizer": int(is_sgd),
            "fresh": int(configuration.fresh),
        }


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
