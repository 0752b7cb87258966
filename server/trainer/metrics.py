"""The figures of one epoch, as a value. Torch is not imported."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from ml_trainer_env.server.trainer.figures import Figures

__all__ = ["DIAGNOSTIC_FIGURES", "EPOCH_FIGURES", "FIRST_EPOCH_FIGURES", "EpochMetrics", "are_recorded"]


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """The figures of one epoch. Losses are in nats and may be infinite or NaN.

    Attributes:
        train_loss: Mean loss of the training batches, with augmentation and dropout.
        train_accuracy: Accuracy after the epoch on 1,000 training examples, from 0 to 1. They are not augmented and
            nothing is dropped, so that overfitting shows.
        val_loss: Mean loss on the validation examples.
        val_accuracy: Accuracy on the validation examples, from 0 to 1.
        learning_rate: The learning rate of the epoch.
        diverged: Whether the training loss was above the limit of `EpochSettings`, or not finite.
        initial_loss: Loss of the first batch before the first step of the epoch, with augmentation and dropout.
        gradient_norm: Root mean square, over 4 steps that are spread over the epoch, of the L2 norm of all gradients
            together.
        update_ratio: Root mean square, over the same steps, of the L2 norm of the change of all weights by the L2 norm
            of all weights.
        dead_units: Share of the hidden units, from 0 to 1, that are dead after the epoch on the first 256 training
            examples, not augmented: a relu that gives 0 for all of them, a tanh that gives more than 0.99 in magnitude
            for all of them. A channel of a convolution is a unit. None for a network without hidden units.

    The last four are None in records of earlier versions.
    """

    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    diverged: bool
    initial_loss: float | None = None
    gradient_norm: float | None = None
    update_ratio: float | None = None
    dead_units: float | None = None

    def to_figures(self) -> Figures:
        """Return the figures by name."""
        return asdict(self)

    @classmethod
    def from_figures(cls, figures: Figures) -> Self:
        """Read what `to_figures` returned, in this or an earlier version."""
        known: Any = figures
        return cls(**known)


EPOCH_FIGURES = tuple(field.name for field in fields(EpochMetrics))
"""The names of an epoch's figures, in order."""

DIAGNOSTIC_FIGURES = ("initial_loss", "gradient_norm", "update_ratio", "dead_units")
"""The last of an epoch's figures. Records of earlier versions do not have them."""

FIRST_EPOCH_FIGURES = EPOCH_FIGURES[: -len(DIAGNOSTIC_FIGURES)]
"""The names of an epoch's figures in records of earlier versions, in order."""


def are_recorded(figures: Iterable[str], expected: Collection[str]) -> bool:
    """Whether recorded figures have the expected names. Records of earlier versions may lack the diagnostic ones."""
    found, all_names = set(figures), set(expected)
    return found in (all_names, all_names.difference(DIAGNOSTIC_FIGURES))
