"""A table of several episodes with their differences marked. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Line", "Table", "compare"]

_MAX_VALUES = 5
_FACTS = ("task", "agent", "seed", "rubric", "state", "epochs", "score", "forked_from")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table.

    Attributes:
        name: The setting or fact.
        values: Its value in each episode, as text. "" where it has none.
        differs: Whether the values differ.
    """

    name: str
    values: tuple[str, ...]
    differs: bool


@dataclass(frozen=True, slots=True)
class Table:
    """Episodes beside each other.

    Attributes:
        names: The names of the episodes.
        lines: The lines.
    """

    names: tuple[str, ...]
    lines: tuple[Line, ...]


def compare(documents: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of some episodes, as `Archive.recording` returns them.

    Of a setting that was changed on the way its values are told in their order.
    """
    settings = [_settings(document["calls"]) for document in documents]
    facts = [document["episode"] for document in documents]
    names = dict.fromkeys(name for one in settings for name in one)
    lines = [_line(name, [one.get(name) for one in facts]) for name in _FACTS]
    lines += [_line(name.replace("_", " "), [one.get(name) for one in settings]) for name in names]
    return Table(tuple(str(one["name"]) for one in facts), tuple(line for line in lines if any(line.values)))


def _settings(calls: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
    """Return the settings that the replies to some calls tell."""
    found: dict[str, list[str]] = {}
    for call in calls:
        reply = call["reply"] or {}
        told = reply.get("configuration", reply.get("settings"))
        for name, value in told.items() if isinstance(told, Mapping) else ():
            values = found.setdefault(name, [])
            if not values or values[-1] != str(value):
                values.append(str(value))
    return {name: _in_order(values) for name, values in found.items()}


def _in_order(values: Sequence[str]) -> str:
    """Return values as text: all of a few, of more the first and the last ones."""
    shown = values if len(values) <= _MAX_VALUES else [*values[:2], "...", *values[-2:]]
    return ", then ".join(shown)


def _line(name: str, values: Sequence[Any]) -> Line:
    texts = tuple("" if value is None else str(value) for value in values)
    return Line(name, texts, len(set(texts)) > 1)
