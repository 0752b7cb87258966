"""A task of the challenge as a value: the same images, seed and number give the same task.

Within a task one permutation of the pixels holds for all images and one of the labels for all labels; the samples of
either part are shuffled. Nothing else changes, unless the task is `hardened`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ml_trainer_env.server.datasets import Permutation
from ml_trainer_env.server.datasets.values import CLASS_COUNT
from permuted_mnist.hardening import hardened
from permuted_mnist.mnist import Mnist

__all__ = ["CLASSES", "PIXELS", "SIDE", "PermutedTask", "Pixels", "Variant", "draw_task"]

SIDE = 28
PIXELS = SIDE * SIDE
CLASSES = CLASS_COUNT

Pixels: TypeAlias = npt.NDArray[np.float32]
Labels: TypeAlias = npt.NDArray[np.int64]


class Variant(StrEnum):
    """What is done to the images besides permuting them."""

    STANDARD = "standard"
    """Nothing, as in the competition. The test images are public: an agent could recognise them."""

    HARDENED = "hardened"
    """Each image is shifted, its brightness changed and noise added, so that recognising it does not pay."""


@dataclass(frozen=True, slots=True, eq=False)
class PermutedTask:
    """What an agent is to learn.

    Attributes:
        train_images: float32 (N, 28, 28) in [0, 1], with their pixels permuted.
        train_labels: int64 (N,), 0 to 9, permuted.
        test_images: float32 (M, 28, 28).
        test_labels: int64 (M,): what the agent must not see.
        pixel_permutation: int64 (784,): permuted pixel `i` is the digit's pixel `pixel_permutation[i]`. Not for agents.
        label_permutation: int64 (10,): digit `d` has the label `label_permutation[d]`. Not for agents.
    """

    train_images: Pixels
    train_labels: Labels
    test_images: Pixels
    test_labels: Labels
    pixel_permutation: npt.NDArray[np.int64]
    label_permutation: npt.NDArray[np.int64]


def draw_task(mnist: Mnist, seed: int, number: int, variant: Variant = Variant.STANDARD) -> PermutedTask:
    """Draw a task.

    Args:
        mnist: The digits.
        seed: Of a series of tasks, at least 0.
        number: The task's place in the series, from 0. Any task can be drawn without those before it.
        variant: What is done to the images besides.
    """
    generator = np.random.default_rng([seed, number])
    permutation = Permutation.draw(generator)
    parts = []
    for images, digits in ((mnist.train_images, mnist.train_labels), (mnist.test_images, mnist.test_labels)):
        order = generator.permutation(len(images))
        drawn = images[order]
        scaled = drawn / np.float32(255) if variant is Variant.STANDARD else hardened(drawn, generator)
        parts.append((permutation.of_images(scaled), permutation.of_labels(digits[order])))
    (train_images, train_labels), (test_images, test_labels) = parts
    return PermutedTask(
        train_images,
        train_labels,
        test_images,
        test_labels,
        np.array(permutation.pixels, np.int64),
        np.array(permutation.classes, np.int64),
    )
