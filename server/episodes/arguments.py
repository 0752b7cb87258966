"""Reads numbers and booleans from text: some models write `"2"` for 2 and `"true"` for true.

Every surface uses it before a call is carried out and recorded. So the journal holds the value that was read, and a
replay reads no text.
"""

import re
from typing import Any

__all__ = ["read_flag", "read_number"]

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_MAX_CHARACTERS = 40
_FLAGS = {"true": True, "false": False}


def read_number(value: Any) -> Any:
    """Return the number that a text in decimal notation means. Other values are returned unchanged.

    `"2"` is 2, `"0.001"` and `"1e-3"` are 0.001. `"nan"`, `"0x10"`, `"1_000"` and `"two"` are returned unchanged.
    """
    if not isinstance(value, str) or len(value) > _MAX_CHARACTERS:
        return value
    text = value.strip()
    if not _NUMBER.fullmatch(text):
        return value
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def read_flag(value: Any) -> Any:
    """Return the boolean that `"true"` or `"false"` means, in any case. Other values are returned unchanged."""
    return _FLAGS.get(value.strip().lower(), value) if isinstance(value, str) else value
