"""The figures of a unit of work, as a type. Needs no NumPy, so that commands that only read the journal start fast."""

from collections.abc import Mapping

__all__ = ["Figures"]

Figures = Mapping[str, float | bool | None]
"""What a unit of work reports: numbers and flags by name."""
