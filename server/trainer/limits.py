"""Bounds of numeric settings: stated once, shown in tool schemas and checked here.

A `Limit` knows how to describe itself in words, as JSON Schema, and how to check a value
that came from outside, whatever its type.
"""

from dataclasses import dataclass
from typing import Any

from ml_trainer_env.server.trainer.errors import ConfigError

__all__ = ["Limit", "check_choice", "check_flag", "shown"]

_SHOWN_CHARACTERS = 80

_ABOVE_OPEN = 1e-6
"""How far above an excluded lowest value a schema's range begins. The check itself takes what lies between."""


def shown(value: object) -> str:
    """`value` as an error message quotes it: `repr`, cut to a readable length."""
    try:
        text = repr(value[:_SHOWN_CHARACTERS]) if isinstance(value, str) else repr(value)
    except RecursionError:
        text = f"a {type(value).__name__} that is nested too deep"
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


@dataclass(frozen=True, slots=True)
class Limit:
    """The numbers a setting may take.

    Attributes:
        low: Lowest value.
        high: Highest value, always allowed itself.
        open_low: Whether `low` itself is excluded.
        whole: Whether only whole numbers are allowed.
        choices: The only values allowed, where not the whole range is.
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
        """The limit as a JSON Schema fragment: whatever it allows is allowed, in a form that every provider takes.

        Gemini refuses `exclusiveMinimum`, so the schema of a range without its lowest value begins just above it.
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
            value: Anything. Booleans and text are not numbers here; 64.0 is a whole number.

        Returns:
            The value, as int where the limit is `whole`, else as float.

        Raises:
            ConfigError: It is not a number within the limit; NaN never is.
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
    """Return `value` if it is one of `choices`, else raise ConfigError."""
    if isinstance(value, str) and value in choices:
        return str(value)
    raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {shown(value)}")


def check_flag(name: str, value: object) -> bool:
    """Return `value` if it is a boolean, else raise ConfigError."""
    if isinstance(value, bool):
        return value
    raise ConfigError(f"{name} must be true or false, got {shown(value)}")
