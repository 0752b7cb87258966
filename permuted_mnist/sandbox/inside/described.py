"""Describes a value in words, for error messages about invalid predictions."""

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["described"]

MAX_KEYS = 5
MAX_ERROR = 300
"""Maximum number of characters of NumPy's message."""


def described(value: Any) -> str:
    """Describe a value: `None`, "a dict with the keys 'predictions'", "(200, 10)".

    Args:
        value: Any value. An array, or a value that NumPy can convert to one, is described by its shape.
    """
    if value is None:
        return "None"
    if isinstance(value, Mapping):
        keys = [repr(key) for key in list(value)[: MAX_KEYS + 1]]
        return f"a dict with the keys {', '.join(keys[:MAX_KEYS])}{', ...' if len(keys) > MAX_KEYS else ''}"
    name = type(value).__name__
    try:
        array = np.asarray(value)
    except Exception as error:  # an unknown type may raise anything
        if isinstance(value, list | tuple):
            return f"a {name} of {len(value)} items of different lengths"
        return f"a value of type {name}, which is no array: {str(error)[:MAX_ERROR]}"
    if array.dtype.hasobject and not array.shape:
        return f"a value of type {name}"
    if array.dtype.hasobject:
        kinds = sorted({type(item).__name__ for item in array.ravel()})
        return f"{array.shape}, with values of type {', '.join(kinds[:MAX_KEYS])}"
    return str(array.shape)
