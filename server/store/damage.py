"""Reads values that a damaged file, or somebody's hand, may have changed: each is checked before it is used."""

import json
from types import UnionType
from typing import Any

import sqlalchemy as sa

from ml_trainer_env.server.store.database import StoreError

__all__ = ["DamagedError", "checked", "loaded", "raw"]

_SHOWN_CHARACTERS = 60


class DamagedError(StoreError):
    """Something in the journal is not what was written. The message names the episode, and the call."""


def raw(column: sa.Column[Any]) -> sa.Label[Any]:
    """A column as SQLite holds it, so that what does not parse can be told from what is not there."""
    return sa.type_coerce(column, sa.types.NullType()).label(column.name)


def checked(name: str, value: object, kind: type | UnionType) -> Any:
    """The value, if it is of that kind.

    Args:
        name: Of the value, for the message.
        value: As SQLite or JSON gave it. A flag may be 0 or 1, as SQLite holds them.
        kind: What it must be.

    Raises:
        ValueError: It is not.
    """
    if kind is bool and type(value) is int and value in (0, 1):
        return bool(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"its {name} is {_shown(value)}")
    return value


def loaded(name: str, text: object, kind: type) -> Any:
    """The value that JSON text holds, if it is of that kind.

    Raises:
        ValueError: It does not parse, or holds something else.
    """
    try:
        value = json.loads(checked(name, text, str))
    except (json.JSONDecodeError, RecursionError):
        raise ValueError(f"its {name} is no JSON: {_shown(text)}") from None
    return checked(name, value, kind)


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
