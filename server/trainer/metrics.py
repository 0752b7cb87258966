"""The figures of one epoch, as a value. Needs no torch."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from ml_trainer_env.server.trainer.figures import Figures

__all__ = ["EPOCH_FIGURES", "EpochMetrics"]


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """The figures of one epoch. Losses are in nats and may be infinite or NaN.

    Attributes:
        train_loss: Mean loss of the batches as they were trained on, augmented and dropped out.
        train_accuracy: On 1,000 clean training images after the epoch, in evaluation mode: so
            augmentation cannot hide overfitting.
        val_loss: Mean loss on the validation images.
        val_accuracy: Share of the validation images classified right.
        learning_rate: The rate the epoch ran at.
        diverged: The training loss was not finite or above 100.
    """

    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    diverged: bool

    def to_figures(self) -> Figures:
        """The same, by name."""
        return asdict(self)

    @classmethod
    def from_figures(cls, figures: Figures) -> Self:
        """The value that `to_figures` was called on."""
        known: Any = figures
        return cls(**known)


EPOCH_FIGURES = tuple(field.name for field in fields(EpochMetrics))
"""The names of an epoch's figures, in order."""
