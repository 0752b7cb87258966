"""A permutation of pixels and of classes, which makes a new task out of known images.

All images are permuted alike, and each class gets another label. No information is lost, so a fully connected network
learns as well as before. Convolutions and prior knowledge of the digits do not help.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ml_trainer_env.server.datasets.values import CLASS_COUNT, IMAGE_SHAPES, DatasetName

__all__ = ["Permutation"]

_PIXEL_COUNT = int(np.prod(IMAGE_SHAPES[DatasetName.MNIST]))


@dataclass(frozen=True, slots=True)
class Permutation:
    """A permutation of the values of an image and of the classes. Compared by content.

    Attributes:
        pixels: Value `i` of a permuted image, row by row, is the image's value `pixels[i]`.
        classes: Class `c` gets the label `classes[c]`.
    """

    pixels: tuple[int, ...]
    classes: tuple[int, ...]

    @classmethod
    def draw(cls, generator: np.random.Generator) -> Self:
        """Draw a permutation for images of MNIST: first of the pixels, then of the classes."""
        pixels, classes = generator.permutation(_PIXEL_COUNT), generator.permutation(CLASS_COUNT)
        return cls(tuple(pixels.tolist()), tuple(classes.tolist()))

    @property
    def key(self) -> str:
        """SHA-256 of the content, hex."""
        return hashlib.sha256(repr((self.pixels, self.classes)).encode()).hexdigest()

    def of_images(self, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return permuted copies of images (N, ...), C-contiguous, of the same shape and type."""
        permuted: npt.NDArray[Any] = np.take(images.reshape(len(images), -1), self.pixels, axis=1)
        return permuted.reshape(images.shape)

    def of_labels(self, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the permuted labels (N,), int64."""
        return np.array(self.classes, np.int64)[labels]
