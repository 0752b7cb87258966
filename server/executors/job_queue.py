"""The queue of an executor: callers wait on one side, in asyncio; workers are served on the other, in threads.

First come, first served. A job may leave before its turn, and a job whose worker died goes back to
the front. Nothing here runs a job.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from ml_trainer_env.server.executors.contract import ExecutorError, OnUnit, OnWait, ignore_unit
from ml_trainer_env.server.executors.identity import Identity, IdentityError
from ml_trainer_env.server.executors.job import Job, UnitResult

__all__ = ["JobQueue", "QueuedJob", "executor_closed"]

TELL_POSITION_EVERY_S = 1.0
"""How often the caller of a queued job receives its position."""


def executor_closed() -> ExecutorError:
    """The error of jobs whose executor is closed."""
    return ExecutorError("the executor is closed")


def _begun_future() -> "Future[Identity]":
    """A future that only the queue resolves: nobody who waits for it can cancel it."""
    future: Future[Identity] = Future()
    future.set_running_or_notify_cancel()
    return future


def _nothing() -> None:
    pass


@dataclass(slots=True, eq=False)
class QueuedJob:
    """A job on its way through the queue.

    Attributes:
        job: The job.
        timeout_s: Time that a unit may take once it has begun.
        results: The units done so far.
        attempts: How many workers have tried the unit that is next.
        cancelled: Set when nobody waits for the job any more.
        is_over: Whether there will be no more results.
        error: What the job failed with; None if it did not fail.
        on_change: Called from a worker's thread after a result, and at the end.
    """

    job: Job
    timeout_s: float
    results: list[UnitResult] = field(default_factory=list)
    attempts: int = 0
    cancelled: threading.Event = field(default_factory=threading.Event)
    is_over: bool = False
    error: Exception | None = None
    on_change: Callable[[], None] = _nothing

    def rest(self) -> Job:
        """The units that are not done."""
        return self.job.after(self.results)

    def deliver(self, result: UnitResult) -> None:
        """Add the result of a unit. The same worker has begun the next one."""
        self.results.append(result)
        self.attempts = 1
        self.on_change()

    def end(self, error: Exception | None = None) -> None:
        """Take note that there will be no more results."""
        self.error = error
        self.is_over = True
        self.on_change()

    def outcome(self) -> tuple[UnitResult, ...]:
        """The results of a job that is over. Raises what it failed with."""
        if self.error is not None:
            raise self.error
        return tuple(self.results)

    def overdue(self) -> ExecutorError:
        """The error of a unit that runs over its time."""
        return ExecutorError(f"the {self.job.unit} took longer than {self.timeout_s:g} s")


class JobQueue:
    """Jobs in order. A job that was taken must be finished, failed or put back."""

    def __init__(self) -> None:
        self._jobs: deque[QueuedJob] = deque()
        self._changed = threading.Condition()
        self._busy = 0
        self._free = 0
        self._identity: Identity | None = None
        self._identity_known = _begun_future()
        self.closed = threading.Event()
        self.bells: list[Callable[[], None]] = []
        """Called, from any thread, when a job is queued or cancelled. Only workers that wait add theirs."""

    @property
    def waiting(self) -> int:
        """Jobs that no worker has taken."""
        return len(self._jobs)

    @property
    def busy(self) -> int:
        """Jobs taken, and not finished, failed or put back."""
        return self._busy

    @property
    def is_crowded(self) -> bool:
        """Whether more jobs wait than workers are free, so that running jobs should give up their turn."""
        return len(self._jobs) > self._free

    # The side of the callers.

    def put(self, job: Job, timeout_s: float) -> QueuedJob:
        """Queue a job.

        Raises:
            ExecutorError: The queue is closed.
        """
        queued = QueuedJob(job, timeout_s)
        with self._changed:
            if self.closed.is_set():
                raise executor_closed()
            self._jobs.append(queued)
            self._changed.notify()
        self._ring()
        return queued

    async def wait_for(
        self, queued: QueuedJob, on_wait: OnWait, on_unit: OnUnit = ignore_unit
    ) -> tuple[UnitResult, ...]:
        """Wait for the results, and hand each on as it comes.

        Cancelling the wait cancels the job. Raises what the job failed with.
        """
        loop, changed, handed_on = asyncio.get_running_loop(), asyncio.Event(), 0

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(changed.set)

        queued.on_change = wake
        try:
            while True:
                changed.clear()
                is_over = queued.is_over  # before the results are read: none comes after it
                while handed_on < len(queued.results):
                    handed_on += 1
                    on_unit(queued.results[handed_on - 1])
                if is_over:
                    return queued.outcome()
                timer = loop.call_later(TELL_POSITION_EVERY_S, changed.set)
                try:
                    await changed.wait()
                finally:
                    timer.cancel()
                if loop.time() >= timer.when() and (position := self._position(queued)):
                    on_wait(position)
        finally:
            if not queued.is_over:
                self._cancel(queued)

    async def identity(self) -> Identity:
        """The identity that the queue serves; waits until the first worker has reported it.

        Raises:
            ExecutorError: No worker can be started, or the queue is closed.
        """
        with self._changed:
            if self._identity is not None:
                return self._identity
            if self.closed.is_set():
                raise executor_closed()
            known = self._identity_known
        return await asyncio.wrap_future(known)

    def _position(self, queued: QueuedJob) -> int:
        """1 for the next to be taken, 0 if it has been taken."""
        with self._changed, contextlib.suppress(ValueError):
            return self._jobs.index(queued) + 1
        return 0

    def _cancel(self, queued: QueuedJob) -> None:
        with self._changed, contextlib.suppress(ValueError):
            queued.cancelled.set()
            self._jobs.remove(queued)
        self._ring()

    def _ring(self) -> None:
        for ring in tuple(self.bells):
            ring()

    # The side of the workers.

    def serve(self, identity: Identity) -> None:
        """Take note that a worker is ready. The first one fixes the queue's identity.

        Raises:
            IdentityError: The worker has another identity: it must not take jobs.
        """
        with self._changed:
            if self._identity is None:
                self._identity = identity
                self._identity_known.set_result(identity)
            elif identity.key != self._identity.key:
                differing = "; ".join(identity.differences(self._identity.facts))
                raise IdentityError(f"it would give other results than the workers before it: {differing}")

    def take(self, timeout_s: float | None = None) -> QueuedJob | None:
        """Wait for the first job; None if there is none in time, or the queue is closed."""
        with self._changed:
            self._free += 1
            self._changed.wait_for(lambda: self._jobs or self.closed.is_set(), timeout_s)
            self._free -= 1
            if not self._jobs:
                return None
            self._busy += 1
            return self._jobs.popleft()

    def finish(self, queued: QueuedJob) -> None:
        """Let the caller know that all results have been delivered."""
        self._let_go()
        queued.end()

    def fail(self, queued: QueuedJob, error: Exception) -> None:
        """Let the caller know that there will be no more results."""
        self._let_go()
        queued.end(error)

    def put_back(self, queued: QueuedJob) -> None:
        """Let the next free worker try, before it takes any other job."""
        with self._changed:
            self._let_go()
            if self.closed.is_set():
                queued.end(executor_closed())
            elif not queued.cancelled.is_set():
                self._jobs.appendleft(queued)
                self._changed.notify()

    def fail_waiting(self, error: ExecutorError) -> None:
        """Fail every queued job, and everybody who waits for the identity."""
        with self._changed:
            failed = list(self._jobs)
            self._jobs.clear()
            if self._identity is None:
                self._identity_known.set_exception(error)
                self._identity_known = _begun_future()
        for queued in failed:
            queued.end(error)

    def close(self) -> None:
        """Take no more jobs, and fail those that are queued."""
        with self._changed:
            self.closed.set()
            self._changed.notify_all()
        self.fail_waiting(executor_closed())

    def _let_go(self) -> None:
        with self._changed:
            self._busy -= 1
