"""The type of a unit's figures. NumPy is not imported, so commands that only read the journal start fast."""

from collections.abc import Mapping

__all__ = ["Figures"]

Figures = Mapping[str, float | bool | None]
"""Numbers and flags that a unit of work reports, by name."""
