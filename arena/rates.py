"""How much somebody may do in a time."""

import threading
import time

from ml_trainer_env.arena.errors import TooManyError

__all__ = ["Rates", "of_calls"]

CALLS_PER_S = 20.0
"""Of a token, in the long run."""

CALLS_AT_ONCE = 200.0
MAX_BUCKETS = 10_000


class Rates:
    """A bucket for each name: it holds `burst` and fills up again by `per_s` a second.

    Args:
        per_s: What may be taken a second in the long run.
        burst: What may be taken at once.
        complaint: What is said to who takes more.
    """

    def __init__(self, per_s: float, burst: float, complaint: str) -> None:
        self._per_s = per_s
        self._burst = burst
        self._complaint = complaint
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, name: str, amount: float = 1.0) -> None:
        """Take from a bucket.

        Raises:
            TooManyError: It does not hold so much.
        """
        now = time.monotonic()
        with self._lock:
            held = self._held(name, now)
            if held < amount:
                raise TooManyError(self._complaint)
            self._buckets[name] = held - amount, now
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets = {
                    name: (held, at) for name, (held, at) in self._buckets.items() if not self._full(name, now)
                }

    def _held(self, name: str, now: float) -> float:
        held, at = self._buckets.get(name, (self._burst, now))
        return min(self._burst, held + (now - at) * self._per_s)

    def _full(self, name: str, now: float) -> bool:
        return self._held(name, now) >= self._burst


def of_calls() -> Rates:
    """How often a token may call."""
    return Rates(CALLS_PER_S, CALLS_AT_ONCE, f"too many requests: a token may send {CALLS_PER_S:g} a second")
