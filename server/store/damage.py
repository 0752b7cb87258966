"""Checks values read from the database, because the file may be damaged or edited."""

import json
from types import UnionType
from typing import Any

import sqlalchemy as sa

from ml_trainer_env.server.store.database import StoreError

__all__ = ["DamagedError", "check_value", "load_json", "raw_column"]

_SHOWN_CHARACTERS = 60


class DamagedError(StoreError):
    """A value in the journal is damaged. The message names the episode and the call."""


def raw_column(column: sa.Column[Any]) -> sa.Label[Any]:
    """Return a column without conversion, so that a malformed value differs from a missing one."""
    return sa.type_coerce(column, sa.types.NullType()).label(column.name)


def check_value(name: str, value: object, kind: type | UnionType) -> Any:
    """Return the value if it has the expected type.

    Args:
        name: Name of the value, for the message.
        value: Value from SQLite or JSON. A flag may be 0 or 1, as in SQLite.
        kind: Expected type.

    Raises:
        ValueError: The value has another type.
    """
    if kind is bool and type(value) is int and value in (0, 1):
        return bool(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"its {name} is {_shown(value)}")
    return value


def load_json(name: str, text: object, kind: type) -> Any:
    """Parse JSON text and return its value if it has the expected type.

    Raises:
        ValueError: The text is not JSON, or the value has another type.
    """
    try:
        value = json.loads(check_value(name, text, str))
    except (json.JSONDecodeError, RecursionError):
        raise ValueError(f"its {name} is no JSON: {_shown(text)}") from None
    return check_value(name, value, kind)


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
