"""Validates and grades the predictions of an agent."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ml_trainer_env.server.datasets.values import CLASS_COUNT
from permuted_mnist.sandbox.inside.described import described

__all__ = ["PredictionError", "accuracy", "as_labels"]


class PredictionError(ValueError):
    """Predictions or labels are invalid. The message says what was expected and what came."""


def as_labels(values: Any, count: int, name: str = "predictions") -> npt.NDArray[np.int64]:
    """Validate labels and convert them to an array.

    Args:
        values: `count` whole numbers from 0 to 9: an array or a list, (N,) or (N, 1).
        count: Expected number of labels.
        name: Name of the values in error messages.

    Returns:
        int64 (count,).

    Raises:
        PredictionError: The values are invalid.
    """
    expected = f"{name} should have the shape ({count},) or ({count}, 1)"
    try:
        array = np.asarray(values)
    except Exception as error:  # ragged lists, and other values that NumPy cannot convert
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
    """Compute the share of correct predictions.

    Args:
        predictions: Labels, an array or a list, (N,) or (N, 1).
        labels: The correct labels, in the same form.

    Raises:
        PredictionError: Predictions or labels are invalid, or there are none.
    """
    count = len(labels)
    if not count:
        raise PredictionError("there are no labels to compare with")
    return float((as_labels(predictions, count) == as_labels(labels, count, "labels")).mean())
