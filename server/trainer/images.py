"""A task's images as plain arrays: a value that can be sent to another process."""

from dataclasses import dataclass, fields

import numpy as np

from ml_trainer_env.server.trainer.kinds import AugmentationKind

__all__ = ["ImageArrays"]


@dataclass(frozen=True, slots=True, eq=False)
class ImageArrays:
    """The images that training, validation and the final test need.

    Attributes:
        key: Names the content: two values with the same key hold the same arrays.
        augmentation: The family of transforms that training may use.
        train_images: uint8 (N, H, W) or (N, H, W, C).
        train_labels: int64 (N,), classes 0 to 9.
        validation_images: As the training images.
        validation_labels: As the training labels.
        test_images: Held-out images, looked at when a model is submitted.
        test_labels: Their labels.
    """

    key: str
    augmentation: AugmentationKind
    train_images: np.ndarray
    train_labels: np.ndarray
    validation_images: np.ndarray
    validation_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    @property
    def nbytes(self) -> int:
        """Size of all arrays, in bytes."""
        values = (getattr(self, field.name) for field in fields(self))
        return sum(value.nbytes for value in values if isinstance(value, np.ndarray))
