"""What an agent's predictions must be: checked in one place."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ml_trainer_env.server.datasets.values import CLASS_COUNT
from permuted_mnist.sandbox.inside.described import described

__all__ = ["PredictionError", "accuracy", "as_labels"]


class PredictionError(ValueError):
    """Predictions, or labels, are not what they should be. The message says what was expected and what came."""


def as_labels(values: Any, count: int, name: str = "predictions") -> npt.NDArray[np.int64]:
    """Labels as an array, whichever way they come.

    Args:
        values: `count` whole numbers from 0 to 9: an array or a list, (N,) or (N, 1).
        count: How many there must be.
        name: What to call them in the error.

    Returns:
        int64 (count,).

    Raises:
        PredictionError: They are something else.
    """
    expected = f"{name} should have the shape ({count},) or ({count}, 1)"
    try:
        array = np.asarray(values)
    except Exception as error:  # ragged lists, and whatever else NumPy cannot read
        raise PredictionError(f"{expected}, got {described(values)}") from error
    if array.shape not in {(count,), (count, 1)}:
        raise PredictionError(f"{expected}, got {described(values)}")
    if array.dtype.kind not in "iuf":
        raise PredictionError(f"{name} should be whole numbers from 0 to 9, got values of type {array.dtype}")
    flat = array.reshape(count)
    with np.errstate(invalid="ignore"):
        fits = np.isfinite(flat) & (flat >= 0) & (flat < CLASS_COUNT) & (flat == np.floor(flat))
    if not fits.all():
        raise PredictionError(f"{name} should be whole numbers from 0 to 9, got {flat[~fits][0]!s}")
    return flat.astype(np.int64)


def accuracy(predictions: Any, labels: Any) -> float:
    """Share of predictions that are right.

    Args:
        predictions: Labels, an array or a list, (N,) or (N, 1).
        labels: The right ones, likewise.

    Raises:
        PredictionError: One of them is something else, or there are none.
    """
    count = len(labels)
    if not count:
        raise PredictionError("there are no labels to compare with")
    return float((as_labels(predictions, count) == as_labels(labels, count, "labels")).mean())
