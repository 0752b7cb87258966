"""The figures of one epoch, as a value. Torch is not imported."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from ml_trainer_env.server.trainer.figures import Figures

__all__ = ["EPOCH_FIGURES", "EpochMetrics"]


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
    """

    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    diverged: bool

    def to_figures(self) -> Figures:
        """Return the figures by name."""
        return asdict(self)

    @classmethod
    def from_figures(cls, figures: Figures) -> Self:
        """Read what `to_figures` returned."""
        known: Any = figures
        return cls(**known)


EPOCH_FIGURES = tuple(field.name for field in fields(EpochMetrics))
"""The names of an epoch's figures, in order."""
