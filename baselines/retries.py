"""Computes the waiting time before a retry. Pure."""

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

__all__ = ["MAX_WAIT_S", "backoff_s", "retry_after_s"]

MAX_WAIT_S = 120.0
"""Maximum waiting time, also if a server asks for more."""


def retry_after_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """Read the waiting time that a server asks for.

    Args:
        headers: Headers of the response, with lower-case or case-insensitive names.
        now_s: Current time, in seconds since 1970.

    Returns:
        Seconds from 0 to `MAX_WAIT_S`, or None if there is no valid header. `Retry-After` is in seconds or an HTTP date
        (RFC 9110, 10.2.3). `retry-after-ms` is an extension by OpenAI.
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
    """Compute the waiting time after failed attempt number `attempt`, if the server gives none.

    It starts at 1 s, or at 10 s after a rate limit, and doubles with each attempt.
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
