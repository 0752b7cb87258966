"""Runs of units that several sessions may share. A run stops when no session needs its running unit."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from ml_trainer_env.server.executors.contract import OnWait
from ml_trainer_env.server.executors.job import UnitResult

__all__ = ["SharedRun", "Subscription"]


class SharedRun:
    """Units that run one after another for all sessions that subscribe to them.

    The run is cancelled when no subscription wants the running unit.

    Args:
        keys: Keys of the states after the units.
        run: Runs the units. Calls `publish` after each.

    Attributes:
        keys: As above.
        results: The results so far.
    """

    def __init__(self, keys: Sequence[str], run: "Callable[[SharedRun], Coroutine[Any, Any, None]]") -> None:
        self.keys = keys
        self.results: list[UnitResult] = []
        self._subscriptions: list[Subscription] = []
        self._on_end: Callable[[], None] = _do_nothing
        self._task = asyncio.ensure_future(run(self))
        self._task.add_done_callback(self._ended)

    @property
    def remaining(self) -> int:
        """Number of units that are not done."""
        return len(self.keys) - len(self.results)

    def on_end(self, function: Callable[[], None]) -> None:
        """Call a function as soon as no session may subscribe any more."""
        self._on_end = function

    def subscribe(self, key: str, count: int, on_wait: OnWait) -> "Subscription":
        """Subscribe to results.

        Args:
            key: Key of the first state that is wanted.
            count: Largest number of results.
            on_wait: Receives the position in the queue.
        """
        first = self.keys.index(key)
        subscription = Subscription(self, first, min(first + count, len(self.keys)), on_wait)
        self._subscriptions.append(subscription)
        return subscription

    def unsubscribe(self, subscription: "Subscription") -> None:
        """Remove a subscription. Stops the run if no other subscription wants its running unit."""
        self._subscriptions.remove(subscription)
        self._stop_if_unwanted()

    def publish(self, result: UnitResult) -> None:
        """Deliver the result of a unit to all subscriptions that want it."""
        number = len(self.results)
        if (first := next((one for one in self._subscriptions if one.wants(number)), None)) is not None:
            first.led.add(number)
        self.results.append(result)
        self._notify()
        self._stop_if_unwanted()

    def report_position(self, position: int) -> None:
        """Deliver the position in the queue to all subscriptions."""
        for subscription in tuple(self._subscriptions):
            subscription.on_wait(position)

    def require_running(self) -> None:
        """Check that more results may come. Raises the error of a run that failed."""
        if self._task.done():
            self._task.result()
            raise RuntimeError("a shared run ended before it had all its results")

    def _stop_if_unwanted(self) -> None:
        if self.remaining and not any(one.wants(len(self.results)) for one in self._subscriptions):
            self._task.cancel()
            self._end()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            task.exception()  # marks it as retrieved: there may be no subscription left
        self._end()
        self._notify()

    def _end(self) -> None:
        """Call the function of `on_end`, once.

        It may refer to this run, and the states of a run that has ended must not wait for the garbage collector.
        """
        function, self._on_end = self._on_end, _do_nothing
        function()

    def _notify(self) -> None:
        for subscription in self._subscriptions:
            subscription.changed.set()


class Subscription:
    """The results of a shared run that one session wants.

    Args:
        shared: The shared run.
        next_number: Number of the next result, from 0.
        end: Number of the first result that is not wanted.
        on_wait: Receives the position in the queue.

    Attributes:
        on_wait: As above.
        changed: Set when a result has come, or the run has ended.
        led: The numbers of the results that it was the first to want.
    """

    def __init__(self, shared: SharedRun, next_number: int, end: int, on_wait: OnWait) -> None:
        self.on_wait = on_wait
        self.changed = asyncio.Event()
        self.led: set[int] = set()
        self._shared = shared
        self._next = next_number
        self._end = end

    @property
    def is_complete(self) -> bool:
        """Whether all wanted results have been returned."""
        return self._next >= self._end

    def wants(self, number: int) -> bool:
        """Whether a result is wanted and has not been returned."""
        return self._next <= number < self._end

    async def next(self) -> tuple[UnitResult, bool]:
        """Wait for the next result.

        Returns:
            The result, and whether this subscription was the first of those that wanted it.

        Raises:
            ExecutorError: The unit could not be run.
        """
        shared, number = self._shared, self._next
        while len(shared.results) <= number:
            shared.require_running()
            self.changed.clear()
            await self.changed.wait()
        self._next += 1
        return shared.results[number], number in self.led

    def close(self) -> None:
        """End the subscription."""
        self._shared.unsubscribe(self)


def _do_nothing() -> None:
    pass
