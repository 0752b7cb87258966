"""A permutation of pixels and of classes: what makes a task of its own out of images that everybody knows.

It moves the values of an image to other places, the same for all images, and gives each class another label. Nothing
is lost by it, so a network that looks at pixels one by one learns as well as before; one that counts on neighbours,
or an agent that knows the digits, has nothing to go by.
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
    """Where the values of an image and the classes go. A small value: it is equal to another of the same content.

    Attributes:
        pixels: Value `i` of a permuted image, row by row, is the image's value `pixels[i]`.
        classes: Class `c` gets the label `classes[c]`.
    """

    pixels: tuple[int, ...]
    classes: tuple[int, ...]

    @classmethod
    def draw(cls, generator: np.random.Generator) -> Self:
        """Draws one for images of MNIST: the pixels first, the classes after them."""
        pixels, classes = generator.permutation(_PIXEL_COUNT), generator.permutation(CLASS_COUNT)
        return cls(tuple(pixels.tolist()), tuple(classes.tolist()))

    @property
    def key(self) -> str:
        """Names the content: SHA-256, hex."""
        return hashlib.sha256(repr((self.pixels, self.classes)).encode()).hexdigest()

    def of_images(self, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Returns permuted copies of images (N, ...), C-contiguous, in their own shape and type."""
        permuted: npt.NDArray[Any] = np.take(images.reshape(len(images), -1), self.pixels, axis=1)
        return permuted.reshape(images.shape)

    def of_labels(self, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Returns the permuted labels (N,), int64."""
        return np.array(self.classes, np.int64)[labels]
