"""A task's images as the trainer wants them: tensors in memory, normalised once."""

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ml_trainer_env.server.datasets import Permutation
from ml_trainer_env.server.trainer.images import ImageArrays

__all__ = ["BORDER", "TensorData"]

BORDER = 4
"""Black pixels around each image of `bordered_train_images`: as far as any shift goes."""

_TRAIN_SAMPLE = 1_000


class TensorData:
    """`ImageArrays` as float32 tensors (N, C, H, W), channels last in memory.

    Pixels are standardised by the mean and deviation of the training images, a pair a channel.

    Args:
        arrays: The images.
        permutation: What is done to them, to all alike; None leaves them as they are.

    Attributes:
        train_sample: On how many leading training images the train accuracy is measured.
    """

    def __init__(self, arrays: ImageArrays, permutation: Permutation | None = None) -> None:
        pixels = _nhwc(arrays.train_images).reshape(-1, _nhwc(arrays.train_images).shape[-1])
        self._permutation = permutation
        self._mean = torch.tensor(pixels.mean(0, np.float64) / 255.0, dtype=torch.float32)
        self._deviation = torch.tensor(pixels.std(0, np.float64) / 255.0 + 1e-6, dtype=torch.float32)
        self.augmentation = arrays.augmentation
        self.train_images, self.train_labels = self._part(arrays.train_images, arrays.train_labels)
        self.validation_images, self.validation_labels = self._part(arrays.validation_images, arrays.validation_labels)
        self.test_images, self.test_labels = self._part(arrays.test_images, arrays.test_labels)
        self.train_sample = min(len(self.train_labels), _TRAIN_SAMPLE)

    @cached_property
    def bordered_train_images(self) -> Tensor:
        """The training images, (N, H + 8, W + 8, C) with a black border, for cutting shifted ones out."""
        images = self.train_images.permute(0, 2, 3, 1)
        count, height, width, channels = images.shape
        bordered = self.black.expand(count, height + 2 * BORDER, width + 2 * BORDER, channels).contiguous()
        bordered[:, BORDER:-BORDER, BORDER:-BORDER] = images
        return bordered

    @property
    def black(self) -> Tensor:
        """The standardised value of a black pixel, (C,): what a shift moves in."""
        return -self._mean / self._deviation

    def _part(self, images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        labels = labels.astype(np.int64)
        if self._permutation is not None:
            images, labels = self._permutation.of_images(images), self._permutation.of_labels(labels)
        return self._standardised(_nhwc(images)), torch.from_numpy(labels)

    def _standardised(self, images: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(images.astype(np.float32)).div_(255.0)
        return pixels.sub_(self._mean).div_(self._deviation).permute(0, 3, 1, 2)


def _nhwc(images: np.ndarray) -> np.ndarray:
    return images if images.ndim == 4 else images[..., None]
