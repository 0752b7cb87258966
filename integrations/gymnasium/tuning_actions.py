"""Actions of `MLTrainer-v0`: six small choices, and the tool calls that carry them out. Pure functions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Self

__all__ = [
    "BEST",
    "CHOICES",
    "NOTHING",
    "REGULARISATION",
    "USUAL",
    "Choice",
    "Optimizer",
    "Plan",
    "Regularisation",
    "Schedule",
    "Weights",
    "nearest_level",
]

BEST = "best"
"""Name of the checkpoint that the environment saves at each new best validation accuracy."""

RATES = (0.1, 1 / 3, 1.0, 3.0, 10.0)
"""Multiples of the learning rate, by the first number of an action."""

_LEAST_RATE, _GREATEST_RATE = 1e-6, 10.0


class Optimizer(IntEnum):
    """The second number of an action."""

    KEEP = 0
    """As it is."""
    ADAMW = 1
    """AdamW with its usual rate and batch size."""
    SGD = 2
    """SGD with momentum, with its usual rate and batch size."""


class Regularisation(IntEnum):
    """The third number of an action."""

    LESS = 0
    """One level below the present one."""
    SAME = 1
    """As it is."""
    MORE = 2
    """One level above the present one."""


class Schedule(IntEnum):
    """The fourth number of an action."""

    KEEP = 0
    """As it is."""
    CONSTANT = 1
    """A constant rate."""
    COSINE = 2
    """A rate that falls to zero at the end of the budget."""


class Weights(IntEnum):
    """The fifth number of an action."""

    KEEP = 0
    """The present ones."""
    FRESH = 1
    """Fresh ones. The budget stays spent."""
    BEST = 2
    """Those of the best validation accuracy so far, with their optimizer state."""


CHOICES = (len(RATES), len(Optimizer), len(Regularisation), len(Schedule), len(Weights), 2)
"""The number of choices of each part of an action. The last part is 1 to submit."""

NOTHING = (RATES.index(1.0), Optimizer.KEEP, Regularisation.SAME, Schedule.KEEP, Weights.KEEP, 0)
"""The action that changes nothing and trains on."""

USUAL: Mapping[Optimizer, Mapping[str, object]] = {
    Optimizer.ADAMW: {"optimizer": "adamw", "learning_rate": 0.003, "batch_size": 32},
    Optimizer.SGD: {"optimizer": "sgd", "learning_rate": 0.05, "batch_size": 32},
}
"""The settings that come with an optimizer."""

REGULARISATION: Sequence[tuple[float, float, float]] = (
    (0.0, 0.0, 0.0),
    (0.1, 0.3, 0.05),
    (0.2, 0.6, 0.1),
    (0.4, 1.0, 0.2),
)
"""Dropout, strength of augmentation and weight decay of AdamW, by level. SGD has a hundredth of that decay, because it
multiplies its rate, which is larger."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An action, decoded.

    Attributes:
        rate: Multiple of the learning rate.
        optimizer: The optimizer.
        regularisation: The change of regularisation.
        schedule: The schedule.
        weights: The weights.
        submits: Whether to submit instead of training on.
    """

    rate: float
    optimizer: Optimizer
    regularisation: Regularisation
    schedule: Schedule
    weights: Weights
    submits: bool

    @classmethod
    def of(cls, action: Sequence[int]) -> Self:
        """Decode an action.

        Raises:
            ValueError: It is not one of the action space.
        """
        if len(action) != len(CHOICES) or not all(0 <= n < count for n, count in zip(action, CHOICES, strict=True)):
            raise ValueError(f"an action has one number for each of {CHOICES}, from 0 to below it; got {list(action)}")
        rate, optimizer, regularisation, schedule, weights, submits = action
        return cls(
            RATES[rate],
            Optimizer(optimizer),
            Regularisation(regularisation),
            Schedule(schedule),
            Weights(weights),
            bool(submits),
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What is possible at a step.

    Attributes:
        configuration: The settings in force, as replies tell them.
        largest_batch: The largest batch size that the task allows.
        epochs: Number of epochs of the next chunk. 0 once the budget is spent.
        has_model: Whether an epoch has run, so that there is something to submit.
        has_best: Whether there is a checkpoint of the best validation accuracy.
        is_diverged: Whether the present weights cannot be trained on.
    """

    configuration: Mapping[str, Any]
    largest_batch: int
    epochs: int
    has_model: bool
    has_best: bool
    is_diverged: bool

    def masks(self) -> list[list[bool]]:
        """Return which numbers of each part mean something at this step. Others are replaced; see `possible`."""
        trains = self.epochs > 0
        parts = [
            [trains or number == kept for number in range(count)] for count, kept in zip(CHOICES, NOTHING, strict=True)
        ]
        parts[4] = [not self.is_diverged or not (trains or self.has_best), trains, self.has_best]
        parts[5] = [trains, self.has_model or not trains]
        return parts

    def possible(self, choice: Choice) -> Choice:
        """Return the choice, with what is impossible at this step replaced.

        - Before the first epoch there is nothing to submit: the step trains. After the budget is spent it submits.
        - Fresh weights cannot be submitted: the present ones are.
        - Weights that diverged cannot be trained on: the step takes the best ones, or fresh ones if there are none.
        - If there are no best weights, the step goes on with the present ones.
        """
        submits, weights = self.epochs == 0 or (choice.submits and self.has_model), choice.weights
        if weights is Weights.FRESH and submits:
            weights = Weights.KEEP
        if weights is Weights.KEEP and self.is_diverged:
            weights = Weights.BEST
        if weights is Weights.BEST and not self.has_best:
            weights = Weights.FRESH if self.is_diverged and not submits else Weights.KEEP
        return replace(choice, weights=weights, submits=submits)

    def calls(self, choice: Choice) -> Iterator[tuple[str, dict[str, object]]]:
        """Yield the tool calls of a possible choice, as name and arguments. The last one pays the reward."""
        if choice.weights is Weights.BEST:
            yield "restore_checkpoint", {"name": BEST}
        if choice.submits:
            yield "submit_model", {}
            return
        changes = self._changes(choice)
        if choice.weights is Weights.FRESH:
            changes["reinitialize"] = True
        if changes:
            yield "configure_training", changes
        yield "run_epochs", {"num_epochs": self.epochs}

    def _changes(self, choice: Choice) -> dict[str, object]:
        changes: dict[str, object] = dict(USUAL.get(choice.optimizer, {}))
        if "batch_size" in changes:
            changes["batch_size"] = min(self.largest_batch, int(str(changes["batch_size"])))
        if choice.rate != 1.0:
            rate = changes.get("learning_rate", self.configuration["learning_rate"])
            assert isinstance(rate, float | int)
            changes["learning_rate"] = min(_GREATEST_RATE, max(_LEAST_RATE, float(f"{rate * choice.rate:.3g}")))
        if choice.schedule is not Schedule.KEEP:
            changes["lr_schedule"] = choice.schedule.name.lower()
        if choice.regularisation is not Regularisation.SAME:
            step = 1 if choice.regularisation is Regularisation.MORE else -1
            level = min(len(REGULARISATION) - 1, max(0, nearest_level(self.configuration) + step))
            dropout, strength, decay = REGULARISATION[level]
            optimizer = changes.get("optimizer", self.configuration["optimizer"])
            changes |= {
                "dropout": dropout,
                "augmentation": strength > 0,
                "augmentation_strength": strength,
                "weight_decay": decay / 100 if optimizer == "sgd" else decay,
            }
        return changes


def nearest_level(configuration: Mapping[str, Any]) -> int:
    """Return the level of regularisation whose dropout and augmentation are nearest to those of settings."""
    strength = configuration["augmentation_strength"] if configuration["augmentation"] else 0.0

    def distance(level: int) -> float:
        dropout, wanted, _ = REGULARISATION[level]
        return abs(float(configuration["dropout"]) - dropout) / 0.4 + abs(float(strength) - wanted)

    return min(range(len(REGULARISATION)), key=distance)
