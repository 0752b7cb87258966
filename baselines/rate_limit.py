"""A hard cap on requests over any window of time."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["RateLimiter"]


class RateLimiter:
    """Lets at most `limit` requests begin to arrive at their server in any window.

    A request may arrive at any moment between its start and its end, so a window is counted
    from its end: then no choice of moments fits more than `limit` into one window. One
    caller at a time.

    Args:
        limit: Requests a window, at least 1.
        window_s: Length of the window in seconds.
        clock: Seconds, monotonic.
        sleep: Waits the seconds given.
        on_wait: Told the seconds before each wait.
    """

    def __init__(
        self,
        limit: int,
        window_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        on_wait: Callable[[float], None] | None = None,
    ) -> None:
        if limit < 1:
            raise ValueError(f"the limit must be at least 1, not {limit}")
        self._window_s = window_s
        self._clock = clock
        self._sleep = sleep
        self._on_wait = on_wait
        self._ends: deque[float] = deque(maxlen=limit)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Wait for room, then hold it while the request runs, whether it succeeds or not."""
        self._wait()
        try:
            yield
        finally:
            self._ends.append(self._clock())

    def _wait(self) -> None:
        if len(self._ends) < (self._ends.maxlen or 1):
            return
        opens_at = self._ends[0] + self._window_s
        while (now := self._clock()) < opens_at:
            if self._on_wait is not None:
                self._on_wait(opens_at - now)
            self._sleep(opens_at - now)
