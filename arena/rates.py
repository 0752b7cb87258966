"""How often a token may call."""

import threading
import time

from ml_trainer_env.arena.errors import TooManyError

__all__ = ["Rates"]


class Rates:
    """A bucket for each token: it holds `burst` calls and fills up again by `per_s` a second.

    Args:
        per_s: Calls a second in the long run.
        burst: Calls at once.
    """

    def __init__(self, per_s: float = 20.0, burst: float = 200.0) -> None:
        self._per_s = per_s
        self._burst = burst
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, token: str) -> None:
        """Count a call.

        Raises:
            TooManyError: There have been too many of late.
        """
        now = time.monotonic()
        with self._lock:
            held, at = self._buckets.get(token, (self._burst, now))
            held = min(self._burst, held + (now - at) * self._per_s)
            if held < 1:
                raise TooManyError(f"too many requests: a token may send {self._per_s:g} a second")
            self._buckets[token] = held - 1, now
            if len(self._buckets) > 10_000:
                self._buckets = {name: bucket for name, bucket in self._buckets.items() if now - bucket[1] < 60}
