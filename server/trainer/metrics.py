"""What an epoch comes to, as a value. Needs no torch."""

from dataclasses import dataclass

__all__ = ["EpochMetrics"]


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
