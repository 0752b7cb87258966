"""Bounds of numeric settings. Tool schemas and checks use the same bounds.

A `Limit` describes itself as text and as JSON Schema. It checks values of any type.
"""

from dataclasses import dataclass
from typing import Any

from ml_trainer_env.server.trainer.errors import ConfigError

__all__ = ["Limit", "check_choice", "check_flag", "shown"]

_SHOWN_CHARACTERS = 80

_ABOVE_OPEN = 1e-6
"""Distance of a schema's minimum from an excluded lowest value. The check accepts the values between."""


def shown(value: object) -> str:
    """Return `repr(value)` for an error message, cut to 80 characters."""
    try:
        text = repr(value[:_SHOWN_CHARACTERS]) if isinstance(value, str) else repr(value)
    except RecursionError:
        text = f"a {type(value).__name__} that is nested too deep"
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


@dataclass(frozen=True, slots=True)
class Limit:
    """The numbers that a setting may have.

    Attributes:
        low: Lowest value.
        high: Highest value. It is allowed.
        open_low: Whether `low` is excluded.
        whole: Whether only whole numbers are allowed.
        choices: The allowed values. Empty if the whole range is allowed.
    """

    low: float
    high: float
    open_low: bool = False
    whole: bool = False
    choices: tuple[int, ...] = ()

    def __str__(self) -> str:
        if self.choices:
            return "one of " + ", ".join(map(str, self.choices))
        kind, form = ("a whole number", "d") if self.whole else ("a number", "g")
        return f"{kind} in {'(' if self.open_low else '['}{self.low:{form}}, {self.high:{form}}]"

    def json_schema(self) -> dict[str, Any]:
        """Return the limit as a JSON Schema fragment that every provider accepts.

        Gemini refuses `exclusiveMinimum`. So if the lowest value is excluded, `minimum` is just above it.
        """
        number = int if self.whole else float
        return {
            "type": "integer" if self.whole else "number",
            "minimum": number(self.low + _ABOVE_OPEN if self.open_low else self.low),
            "maximum": number(self.high),
        }

    def check(self, name: str, value: object) -> float:
        """Return `value` if it is allowed.

        Args:
            name: The setting's name, for the message.
            value: A value of any type. Booleans and text do not count as numbers. 64.0 counts as a whole number.

        Returns:
            The value: an int if the limit is `whole`, else a float.

        Raises:
            ConfigError: The value is not a number within the limit. NaN never is.
        """
        allowed = (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and (self.low < value if self.open_low else self.low <= value)
            and value <= self.high
            and (not self.whole or value == int(value))
            and (not self.choices or value in self.choices)
        )
        if not allowed:
            raise ConfigError(f"{name} must be {self}, got {shown(value)}")
        assert isinstance(value, int | float)
        return int(value) if self.whole else float(value)


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    """Return `value` if it is one of `choices`. Raises ConfigError otherwise."""
    if isinstance(value, str) and value in choices:
        return str(value)
    raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {shown(value)}")


def check_flag(name: str, value: object) -> bool:
    """Return `value` if it is a boolean. Raises ConfigError otherwise."""
    if isinstance(value, bool):
        return value
    raise ConfigError(f"{name} must be true or false, got {shown(value)}")
