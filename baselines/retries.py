"""How long to wait before a request is made again. Pure."""

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

__all__ = ["MAX_WAIT_S", "backoff_s", "retry_after_s"]

MAX_WAIT_S = 120.0
"""No wait is longer, whatever a server says."""


def retry_after_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """Read what a server says about when to come back.

    Args:
        headers: Of its answer, by lower-case name or case-insensitive.
        now_s: The time, in seconds since 1970.

    Returns:
        Seconds from 0 to `MAX_WAIT_S`, or None if there is nothing, or nothing legible.
        `Retry-After` is in seconds or an HTTP date (RFC 9110, 10.2.3); `retry-after-ms` is
        OpenAI's finer one.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _capped(milliseconds / 1000.0)
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None:
        return _capped(seconds)
    date_s = _date(text)
    return None if date_s is None else _capped(date_s - now_s)


def backoff_s(attempt: int, *, rate_limited: bool) -> float:
    """The wait after failed attempt number `attempt`, where the server names none.

    Doubles from 1 s; from 10 s after a rate limit, whose windows are a minute long.
    """
    first = 10.0 if rate_limited else 1.0
    return _capped(first * 2.0 ** min(attempt - 1, 10))


def _capped(seconds: float) -> float:
    return min(MAX_WAIT_S, max(0.0, seconds))


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return None if math.isnan(number) else number


def _date(text: str | None) -> float | None:
    try:
        date = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
