"""Parses points in time from a command line."""

import re
import time
from datetime import datetime

__all__ = ["parse_time"]

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


def parse_time(text: str) -> float:
    """Parse a point in time. Return seconds since 1970.

    Args:
        text: An age (`30d`, `12h`, `45m`) or a date (`2026-11-27`, `2026-11-27T12:30`; local time).

    Raises:
        ValueError: The text is neither.
    """
    if ago := re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text):
        return time.time() - float(ago[1]) * _SECONDS[ago[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ValueError(f"expected how long ago (30d, 12h, 45m) or a date (2026-11-27), got {text!r}") from None
