"""The two forms of a task's images and labels: as the competition delivers them, and as its guide describes them.

The competition's environment (github.com/ml-arena/permuted_mnist, `permuted_mnist/env/permuted_mnist.py`) delivers
uint8 images and a column of labels. Its guide describes float images in [0, 1] and flat labels. An agent that divides
by 255 learns nothing from the second form, and an agent that does not may learn little from the first.
"""

from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from permuted_mnist.tasks import Labels, Pixels

__all__ = ["NEAR_CHANCE", "Delivery"]

NEAR_CHANCE = 0.2
"""A mean accuracy below this counts as chance. With ten labels, chance is 0.1."""


class Delivery(StrEnum):
    """The form in which an agent receives images and labels."""

    COMPETITION = "competition"
    """Images uint8 (N, 28, 28), 0 to 255; labels int64 (N, 1)."""

    GUIDE = "guide"
    """Images float32 (N, 28, 28) in [0, 1]; labels int64 (N,)."""

    def images(self, images: Pixels) -> npt.NDArray[Any]:
        """Convert images to this form.

        Args:
            images: float32 (N, 28, 28) in [0, 1].
        """
        if self is Delivery.GUIDE:
            return images
        levels: npt.NDArray[np.uint8] = np.rint(images * np.float32(255)).astype(np.uint8)
        return levels

    def labels(self, labels: Labels) -> Labels:
        """Convert training labels to this form.

        Args:
            labels: int64 (N,).
        """
        return labels if self is Delivery.GUIDE else labels[:, None]

    @property
    def form(self) -> str:
        """The form in words."""
        if self is Delivery.GUIDE:
            return "float32 images in [0, 1], labels (N,)"
        return "uint8 images from 0 to 255, labels (N, 1)"

    @property
    def other(self) -> "Delivery":
        """The other form."""
        return Delivery.GUIDE if self is Delivery.COMPETITION else Delivery.COMPETITION

    def hint(self, accuracy: float) -> str | None:
        """Get a hint for an agent that learned nothing from this form; None if it learned something.

        Args:
            accuracy: Mean accuracy on the test images, 0 to 1.
        """
        if accuracy >= NEAR_CHANCE:
            return None
        expected = "images in [0, 1]" if self is Delivery.COMPETITION else "images from 0 to 255"
        return f"accuracy is near chance: this agent may expect {expected}; try --delivery {self.other}"
