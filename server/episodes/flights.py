"""Units that are running for one session or several, and stop when no session wants them any more."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from ml_trainer_env.server.executors.contract import OnWait
from ml_trainer_env.server.executors.job import UnitResult

__all__ = ["Flight", "Seat"]


class Flight:
    """Units that run one after another, for all sessions that want them.

    It is cancelled when no session that still waits wants the unit that is running.

    Args:
        keys: Keys of the states that the units end in.
        run: Runs them, and calls `land` after each.

    Attributes:
        keys: As above.
        results: The results so far.
    """

    def __init__(self, keys: Sequence[str], run: "Callable[[Flight], Coroutine[Any, Any, None]]") -> None:
        self.keys = keys
        self.results: list[UnitResult] = []
        self._first: list[Seat | None] = []
        self._seats: list[Seat] = []
        self._on_end: Callable[[], None] = _nothing
        self._task = asyncio.ensure_future(run(self))
        self._task.add_done_callback(self._ended)

    @property
    def left(self) -> int:
        """How many units are still to be run."""
        return len(self.keys) - len(self.results)

    def on_end(self, function: Callable[[], None]) -> None:
        """Call a function as soon as no session may join any more."""
        self._on_end = function

    def join(self, key: str, count: int, on_wait: OnWait) -> "Seat":
        """Take part.

        Args:
            key: Key of the first state that is wanted.
            count: How many are wanted at most, from there on.
            on_wait: Receives the position in the queue.
        """
        first = self.keys.index(key)
        seat = Seat(self, first, min(first + count, len(self.keys)), on_wait)
        self._seats.append(seat)
        return seat

    def leave(self, seat: "Seat") -> None:
        """Take no part any more."""
        self._seats.remove(seat)
        self._stop_if_unwanted()

    def land(self, result: UnitResult) -> None:
        """Hand the result of a unit to all who want it."""
        number = len(self.results)
        self._first.append(next((seat for seat in self._seats if seat.wants(number)), None))
        self.results.append(result)
        for seat in self._seats:
            seat.changed.set()
        self._stop_if_unwanted()

    def is_first(self, seat: "Seat", number: int) -> bool:
        """Whether a unit was run for that session, and for the others beside it."""
        return self._first[number] is seat

    def tell(self, position: int) -> None:
        """Hand the position in the queue on."""
        for seat in tuple(self._seats):
            seat.on_wait(position)

    def require_running(self) -> None:
        """See that there may be more results. Raises what the flight failed with."""
        if self._task.done():
            self._task.result()
            raise RuntimeError("a flight ended before it had all its results")

    def _stop_if_unwanted(self) -> None:
        if self.left and not any(seat.wants(len(self.results)) for seat in self._seats):
            self._task.cancel()
            self._on_end()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            task.exception()  # nobody may be left to ask for it
        self._on_end()
        for seat in self._seats:
            seat.changed.set()


class Seat:
    """The part that one session takes in a flight.

    Args:
        flight: The flight.
        next_number: Number of the next result, from 0.
        end: Number of the first result that is not wanted.
        on_wait: Receives the position in the queue.
    """

    def __init__(self, flight: Flight, next_number: int, end: int, on_wait: OnWait) -> None:
        self.on_wait = on_wait
        self.changed = asyncio.Event()
        self._flight = flight
        self._next = next_number
        self._end = end

    @property
    def is_through(self) -> bool:
        """Whether all results that are wanted have been given."""
        return self._next >= self._end

    def wants(self, number: int) -> bool:
        """Whether a result is among those that are wanted and not given."""
        return self._next <= number < self._end

    async def next(self) -> tuple[UnitResult, bool]:
        """Wait for the next result.

        Returns:
            It, and whether it was run for this session, and for the others beside it.

        Raises:
            ExecutorError: The unit could not be run.
        """
        flight, number = self._flight, self._next
        while len(flight.results) <= number:
            flight.require_running()
            self.changed.clear()
            await self.changed.wait()
        self._next += 1
        return flight.results[number], flight.is_first(self, number)

    def leave(self) -> None:
        """Want no more results."""
        self._flight.leave(self)


def _nothing() -> None:
    pass
