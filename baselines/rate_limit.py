"""A hard limit on the number of requests in any time window."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["RateLimiter"]


class RateLimiter:
    """Ensures that at most `limit` requests arrive at the server in any window.

    A request arrives at some moment between its start and its end. The limiter therefore counts each window from the
    end of a request. It supports one caller at a time.

    Args:
        limit: Requests in a window, at least 1.
        window_s: Length of the window in seconds.
        clock: Returns seconds, monotonic.
        sleep: Waits a number of seconds.
        on_wait: Called before each wait with the seconds to wait.
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
        """Wait until a request is allowed. The block is the request; failed requests count, too."""
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
