"""Converts rows to a DataFrame if pandas is installed."""

from collections.abc import Sequence
from typing import Any

__all__ = ["as_table", "rows_of"]


def as_table(data: Any, columns: Sequence[str] = ()) -> Any:
    """Convert a list of rows, or `{"columns", "data"}`, to a DataFrame; to a list of dictionaries without pandas.

    Other values are returned unchanged.

    Args:
        data: The rows.
        columns: Names of the columns of a DataFrame without rows.
    """
    if isinstance(data, dict) and "columns" in data and "data" in data:
        data = [dict(zip(data["columns"], row, strict=True)) for row in data["data"]]
    if not isinstance(data, list):
        return data
    try:
        import pandas as pd  # type: ignore[import-untyped]  # optional, and slow to import; it has no stubs of its own
    except ImportError:
        return data
    return pd.DataFrame(data, columns=None if data else list(columns))


def rows_of(table: Any) -> list[dict[str, Any]]:
    """Convert a table to a list of dictionaries."""
    return list(table.to_dict("records") if hasattr(table, "to_dict") else table)
