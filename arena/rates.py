"""Rate limits with token buckets."""

import threading
import time

from ml_trainer_env.arena.errors import TooManyError

__all__ = ["Rates", "call_rates"]

CALLS_PER_S = 20.0
"""Sustained rate for one token."""

CALLS_AT_ONCE = 200.0
MAX_BUCKETS = 10_000


class Rates:
    """One token bucket for each name.

    Args:
        per_s: Refill rate, per second.
        burst: Capacity of a bucket.
        message: Error message when a bucket is empty.
    """

    def __init__(self, per_s: float, burst: float, message: str) -> None:
        self._per_s = per_s
        self._burst = burst
        self._message = message
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, name: str, amount: float = 1.0) -> None:
        """Take an amount from a bucket.

        Raises:
            TooManyError: The bucket contains less.
        """
        now = time.monotonic()
        with self._lock:
            available = self._available(name, now)
            if available < amount:
                raise TooManyError(self._message)
            self._buckets[name] = available - amount, now
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets = {
                    name: (available, at)
                    for name, (available, at) in self._buckets.items()
                    if not self._is_full(name, now)
                }

    def _available(self, name: str, now: float) -> float:
        available, at = self._buckets.get(name, (self._burst, now))
        return min(self._burst, available + (now - at) * self._per_s)

    def _is_full(self, name: str, now: float) -> bool:
        return self._available(name, now) >= self._burst


def call_rates() -> Rates:
    """Rate limits for API calls, by token."""
    return Rates(CALLS_PER_S, CALLS_AT_ONCE, f"too many requests: a token may send {CALLS_PER_S:g} a second")
