"""Discrete events: a clock, and stations at which work waits in order.

A process is a generator. It yields seconds to sleep, or an `Event` to wait for:

    def visit(clock, station):
        yield 1.0                           # thinks for a second
        yield from station.use(0.5)         # waits for a place, and holds it for half a second
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

__all__ = ["Clock", "Event", "Process", "Station"]


class Event:
    """Something that happens once. Processes that wait for it go on at that moment."""

    def __init__(self, clock: "Clock") -> None:
        self._clock = clock
        self._waiting: list[Process] = []
        self.has_happened = False

    def happen(self) -> None:
        """Let the waiting processes go on."""
        self.has_happened = True
        for process in self._waiting:
            self._clock.call_later(0.0, lambda process=process: self._clock.go_on(process))

    def wait(self, process: "Process") -> None:
        """Let a process go on as soon as the event has happened."""
        if self.has_happened:
            self._clock.go_on(process)
        else:
            self._waiting.append(process)


Process = Generator[float | Event, None, Any]


class Clock:
    """Virtual time, in seconds. Events of one moment happen in the order in which they were planned.

    Attributes:
        now: The time.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._planned: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def call_later(self, delay_s: float, function: Callable[[], None]) -> None:
        """Plan a call.

        Raises:
            ValueError: The delay is negative.
        """
        if delay_s < 0:
            raise ValueError(f"a delay must not be negative, got {delay_s}")
        heapq.heappush(self._planned, (self.now + delay_s, next(self._numbers), function))

    def start(self, process: Process) -> None:
        """Start a process at this moment, after what is planned for it."""
        self.call_later(0.0, lambda: self.go_on(process))

    def run(self, until: float) -> None:
        """Let events happen until a time, at which the clock then stands."""
        while self._planned and self._planned[0][0] <= until:
            self.now, _, function = heapq.heappop(self._planned)
            function()
        self.now = until

    def go_on(self, process: Process) -> None:
        """Let a process run to its next wait."""
        try:
            awaited = next(process)
        except StopIteration:
            return
        if isinstance(awaited, Event):
            awaited.wait(process)
        else:
            self.call_later(awaited, lambda: self.go_on(process))


class Station:
    """Places that work holds for some time. Who comes when all are held waits in order.

    Args:
        clock: The clock.
        places: Number of places.

    Attributes:
        places: As above.
        arrivals: Number of those who have come.
        departures: Number of those who have left.
        time_spent_s: Total time of those who have left, from coming to leaving, in seconds.
    """

    def __init__(self, clock: Clock, places: int) -> None:
        self._clock = clock
        self.places = places
        self._free = places
        self._waiting: deque[Event] = deque()
        self._since_s = 0.0
        self._busy_s = 0.0
        self._present_s = 0.0
        self._first_s = 0.0
        self.arrivals = 0
        self.departures = 0
        self.time_spent_s = 0.0

    @property
    def waiting(self) -> int:
        """Number of those who wait for a place."""
        return len(self._waiting)

    @property
    def utilisation(self) -> float:
        """Mean share of the places that is held, from 0 to 1, since the last `forget`."""
        self._account()
        return self._busy_s / (self.places * (self._clock.now - self._first_s))

    @property
    def mean_present(self) -> float:
        """Mean number of those who wait or hold a place, since the last `forget`."""
        self._account()
        return self._present_s / (self._clock.now - self._first_s)

    def forget(self) -> None:
        """Begin the means anew, for example after a warm-up."""
        self._account()
        self._busy_s = self._present_s = 0.0
        self._first_s = self._clock.now

    def acquire(self) -> Event:
        """Come for a place. The event happens when it is held. `release` must follow."""
        self._account()
        self.arrivals += 1
        held = Event(self._clock)
        if self._free:
            self._free -= 1
            held.happen()
        else:
            self._waiting.append(held)
        return held

    def release(self) -> None:
        """Leave the place to the next one."""
        self._account()
        self.departures += 1
        if self._waiting:
            self._waiting.popleft().happen()
        else:
            self._free += 1

    def use(self, seconds: float) -> Process:
        """Wait for a place and hold it for some seconds."""
        came_s = self._clock.now
        yield self.acquire()
        yield seconds
        self.release()
        self.time_spent_s += self._clock.now - came_s

    def _account(self) -> None:
        passed_s, self._since_s = self._clock.now - self._since_s, self._clock.now
        held = self.places - self._free
        self._busy_s += held * passed_s
        self._present_s += (held + len(self._waiting)) * passed_s
