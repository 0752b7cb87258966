"""Noise for inputs and labels, the same on every machine: only `random_stream.py` and exact operations are used."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ml_trainer_env.server.datasets.random_stream import Floats, RandomStream
from ml_trainer_env.server.datasets.values import ExampleKind, Labels

__all__ = ["corrupt", "draw_gaussian", "replace_labels"]

_TERMS = 12  # uniform numbers in a sum: its variance is then exactly 1


def replace_labels(labels: Labels, share: float, outputs: int, stream: RandomStream) -> Labels:
    """Return labels of which a share, rounded to a whole number of labels, is replaced by another one, uniformly.

    Args:
        labels: int64 (N,) or (N, length), 0 to `outputs - 1`.
        share: 0 to 1.
        outputs: Number of possible labels, at least 2.
        stream: Source of randomness.
    """
    if not share:
        return labels
    chosen = _choose(labels.size, share, stream)
    replaced = labels.reshape(-1).copy()
    replaced[chosen] = (replaced[chosen] + 1 + stream.below(outputs - 1, len(chosen))) % outputs
    return replaced.reshape(labels.shape)


def corrupt(
    inputs: npt.NDArray[Any], amount: float, kind: ExampleKind, vocabulary: int, stream: RandomStream
) -> npt.NDArray[Any]:
    """Return noisy inputs of the same type and shape.

    Args:
        inputs: As in `TaskExamples`.
        amount: Standard deviation of Gaussian noise, for images as a share of a pixel's range; for tokens the share
            that is replaced by uniformly drawn tokens.
        kind: Kind of the inputs.
        vocabulary: Number of different tokens.
        stream: Source of randomness.
    """
    if not amount:
        return inputs
    if kind is ExampleKind.TOKENS:
        chosen = _choose(inputs.size, amount, stream)
        replaced = inputs.reshape(-1).copy()
        replaced[chosen] = stream.below(vocabulary, len(chosen))
        return replaced.reshape(inputs.shape)
    if kind is ExampleKind.IMAGES:
        noisy = inputs.astype(np.float32) + draw_gaussian(stream, inputs.shape) * np.float32(255 * amount)
        return (np.clip(noisy, 0, 255) + np.float32(0.5)).astype(np.uint8)
    shifted: npt.NDArray[Any] = inputs + draw_gaussian(stream, inputs.shape) * np.float32(amount)
    return shifted


def draw_gaussian(stream: RandomStream, shape: tuple[int, ...]) -> Floats:
    """Return float32 of mean 0 and variance 1, almost Gaussian: sums of 12 uniform numbers (Irwin-Hall), so below 6."""
    total = stream.floats(*shape)
    for _ in range(_TERMS - 1):
        total += stream.floats(*shape)
    total -= np.float32(_TERMS / 2)
    return total


def _choose(size: int, share: float, stream: RandomStream) -> npt.NDArray[np.intp]:
    """Return the places of a share of `size` elements, drawn without replacement."""
    return np.argsort(stream.floats(size), kind="stable")[: round(share * size)]
