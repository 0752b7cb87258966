"""Encodes observations and actions as JSON: numbers, strings, arrays, and lists, tuples and dictionaries of them.

Decoding never unpickles and returns only values of these types.
"""

import base64
import json
from typing import Any

import numpy as np

__all__ = ["ValueFormError", "dump", "load"]

_KINDS = "biuf"
"""Allowed kinds of arrays: booleans, integers and floats."""


class ValueFormError(Exception):
    """A value cannot be encoded or decoded. The message describes it."""


def dump(value: Any) -> bytes:
    """Encode a value.

    Raises:
        ValueFormError: The value contains an unsupported type.
    """
    try:
        return json.dumps(_encoded(value)).encode()
    except RecursionError as error:
        raise ValueFormError("a value should not be nested so deeply") from error


def load(text: bytes) -> Any:
    """Decode a value. Arrays are writable copies.

    Raises:
        ValueFormError: The text is not a valid encoding.
    """
    try:
        return _decoded(json.loads(text))
    except Exception as error:  # NumPy raises many kinds of errors for invalid types and shapes
        raise ValueFormError(f"a value should be JSON as `dump` writes it: {error}") from error


def _encoded(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return _encoded(value.item())
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in _KINDS:
            raise ValueFormError(f"an array should hold numbers, got {value.dtype}")
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"array": [value.dtype.str, list(value.shape), data]}
    if isinstance(value, tuple):
        return {"tuple": [_encoded(one) for one in value]}
    if isinstance(value, list):
        return {"list": [_encoded(one) for one in value]}
    if isinstance(value, dict):
        return {"dict": [[_encoded(name), _encoded(one)] for name, one in value.items()]}
    raise ValueFormError(f"a value should be made of numbers, texts and arrays, got {type(value).__name__}")


def _decoded(value: Any) -> Any:
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise ValueFormError("a list should say that it is one")
        return value
    ((kind, held),) = value.items()
    match kind:
        case "array":
            name, shape, data = held
            kept = np.dtype(str(name))
            if kept.kind not in _KINDS:
                raise ValueFormError(f"an array should hold numbers, got {kept}")
            return np.frombuffer(base64.b64decode(data), kept).reshape(shape).copy()
        case "tuple":
            return tuple(_decoded(one) for one in held)
        case "list":
            return [_decoded(one) for one in held]
        case "dict":
            return {_decoded(name): _decoded(one) for name, one in held}
    raise ValueFormError(f"a value should be an array, a list, a tuple or a dictionary, got {kind!r}")
