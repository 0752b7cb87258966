"""A task of the challenge as a value. The same images, seed and number give the same task.

Within a task, one permutation of the pixels applies to all images, and one permutation of the labels to all labels.
Training and test samples are shuffled. The images are MNIST's, or drawn for the task in the variant `hardened`.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ml_trainer_env.server.datasets import Permutation
from ml_trainer_env.server.datasets.values import CLASS_COUNT
from permuted_mnist.hardening import DrawnDigits, draw_digits
from permuted_mnist.mnist import Mnist, load_mnist

__all__ = ["CLASSES", "PIXELS", "SIDE", "PermutedTask", "Pixels", "Variant", "draw_task", "load_digits"]

SIDE = 28
PIXELS = SIDE * SIDE
CLASSES = CLASS_COUNT

Pixels: TypeAlias = npt.NDArray[np.float32]
Labels: TypeAlias = npt.NDArray[np.int64]


class Variant(StrEnum):
    """The images of a task."""

    STANDARD = "standard"
    """MNIST, as in the competition. The test images are public, so an agent could recognise them."""

    HARDENED = "hardened"
    """Digits drawn from fonts, new ones for each task, so that no agent can know them. See `hardening`."""


@dataclass(frozen=True, slots=True, eq=False)
class PermutedTask:
    """The data of a task.

    Attributes:
        train_images: float32 (N, 28, 28) in [0, 1], with their pixels permuted.
        train_labels: int64 (N,), 0 to 9, permuted.
        test_images: float32 (M, 28, 28).
        test_labels: int64 (M,). Secret.
        pixel_permutation: int64 (784,): permuted pixel `i` is the digit's pixel `pixel_permutation[i]`. Secret.
        label_permutation: int64 (10,): digit `d` has the label `label_permutation[d]`. Secret.
    """

    train_images: Pixels
    train_labels: Labels
    test_images: Pixels
    test_labels: Labels
    pixel_permutation: npt.NDArray[np.int64]
    label_permutation: npt.NDArray[np.int64]


def load_digits(variant: Variant, data_dir: Path | None = None) -> Mnist | DrawnDigits:
    """Load the source of a variant's tasks: the images of MNIST, or the numbers of digits to draw.

    Args:
        variant: Variant of the tasks.
        data_dir: Folder that may contain `mnist.npz`. The default is the folder in `ML_TRAINER_DATA_DIR`. The hardened
            variant does not use it.

    Raises:
        DatasetError: The file is damaged.
    """
    return DrawnDigits() if variant is Variant.HARDENED else load_mnist(data_dir)


def draw_task(mnist: Mnist | DrawnDigits, seed: int, number: int, variant: Variant = Variant.STANDARD) -> PermutedTask:
    """Draw a task.

    Args:
        mnist: Images of the standard variant. The hardened variant uses only their numbers.
        seed: Seed of a series of tasks, at least 0.
        number: Number of the task in the series, from 0. Each task can be drawn on its own.
        variant: Variant of the images.

    Raises:
        TypeError: The standard variant needs images, and none were given.
    """
    generator = np.random.default_rng([seed, number])
    permutation = Permutation.draw(generator)
    if variant is Variant.HARDENED:
        train_images, train_digits, test_images, test_digits = draw_digits(seed, number, _sizes(mnist))
    elif isinstance(mnist, Mnist):
        train, test = (generator.permutation(size) for size in (mnist.train_size, mnist.test_size))
        train_images, train_digits = mnist.train_images[train], mnist.train_labels[train]
        test_images, test_digits = mnist.test_images[test], mnist.test_labels[test]
    else:
        raise TypeError(f"the standard variant needs the images of MNIST, got {mnist}")
    return PermutedTask(
        permutation.of_images(train_images / np.float32(255)),
        permutation.of_labels(train_digits),
        permutation.of_images(test_images / np.float32(255)),
        permutation.of_labels(test_digits),
        np.array(permutation.pixels, np.int64),
        np.array(permutation.classes, np.int64),
    )


def _sizes(digits: Mnist | DrawnDigits) -> DrawnDigits:
    return digits if isinstance(digits, DrawnDigits) else DrawnDigits(digits.train_size, digits.test_size)
