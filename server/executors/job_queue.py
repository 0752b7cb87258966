"""The queue of an executor. Callers wait in asyncio for results. Workers take jobs in threads.

Jobs are taken in the order in which they came, those of the background after all others. A cancelled job leaves the
queue. A job whose worker died goes back to the front. Nothing here runs a job.
"""

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from ml_trainer_env.server.executors.contract import ExecutorError, OnUnit, OnWait, ignore_unit
from ml_trainer_env.server.executors.identity import Identity, IdentityError
from ml_trainer_env.server.executors.job import Job, UnitResult

__all__ = ["JobQueue", "QueuedJob", "closed_error"]

POSITION_INTERVAL_S = 1.0
"""Seconds between two calls of a queued job's `on_wait`."""


def closed_error() -> ExecutorError:
    """Return the error of jobs whose executor is closed."""
    return ExecutorError("the executor is closed")


def _uncancellable_future() -> "Future[Identity]":
    """Return a future that no caller can cancel. Only the queue resolves it."""
    future: Future[Identity] = Future()
    future.set_running_or_notify_cancel()
    return future


def _do_nothing() -> None:
    pass


@dataclass(slots=True, eq=False, repr=False)
class QueuedJob:
    """A job that was queued, and its results.

    Attributes:
        job: The job.
        timeout_s: Time limit of each unit, in seconds. The time in the queue does not count.
        results: The results so far.
        attempts: Number of workers that have tried the next unit.
        position: Position in the queue when the queue was last counted. 1 is next, 0 is a job that does not wait.
        cancelled: Set when the caller no longer waits.
        is_over: Whether the job has ended.
        error: The error of a failed job. None if it did not fail.
        on_change: Called from a worker's thread after each result and at the end.
    """

    job: Job
    timeout_s: float
    results: list[UnitResult] = field(default_factory=list)
    attempts: int = 0
    position: int = 0
    cancelled: threading.Event = field(default_factory=threading.Event)
    is_over: bool = False
    error: Exception | None = None
    on_change: Callable[[], None] = _do_nothing

    def rest(self) -> Job:
        """Return the job without the units that are done."""
        return self.job.after(self.results)

    def deliver(self, result: UnitResult) -> None:
        """Add the result of a unit. The same worker has begun the next unit."""
        self.results.append(result)
        self.attempts = 1
        self.on_change()

    def end(self, error: Exception | None = None) -> None:
        """End the job, with an error if it failed."""
        self.error = error
        self.is_over = True
        self.on_change()

    def outcome(self) -> tuple[UnitResult, ...]:
        """Return the results of a job that has ended. Raises the error of a failed one."""
        if self.error is not None:
            raise self.error
        return tuple(self.results)

    def timeout_error(self) -> ExecutorError:
        """Return the error of a unit that exceeded its time."""
        return ExecutorError(f"the {self.job.unit} took longer than {self.timeout_s:g} s")


class JobQueue:
    """A queue of jobs. A worker must finish, fail or put back each job that it takes.

    Args:
        closed: Set once the queue is closed. Several queues of one executor share it. None for one of its own.

    Attributes:
        workers: Number of workers that are ready.
    """

    def __init__(self, closed: threading.Event | None = None) -> None:
        self._jobs: deque[QueuedJob] = deque()
        """Those of the background come last."""
        self._foreground = 0
        self._changed = threading.Condition()
        self._busy = 0
        self._free = 0
        self._counted_at = -math.inf
        self._identity: Identity | None = None
        self._identity_known = _uncancellable_future()
        self._refusal = closed_error()
        """What callers are told once the queue is closed."""
        self.workers = 0
        self.closed = closed or threading.Event()
        self.wakeups: list[Callable[[], None]] = []
        """Called from any thread when the queue becomes crowded or a job is cancelled. The threads that wait for
        workers add theirs."""

    @property
    def waiting(self) -> int:
        """Number of jobs that no worker has taken."""
        return len(self._jobs)

    @property
    def busy(self) -> int:
        """Number of jobs that workers have taken and not yet finished, failed or put back."""
        return self._busy

    @property
    def identity_key(self) -> str | None:
        """Key of the identity of the workers. None before the first one."""
        return self._identity.key if self._identity is not None else None

    @property
    def identity_facts(self) -> Mapping[str, str]:
        """Facts of the identity of the workers. Empty before the first one."""
        return self._identity.facts if self._identity is not None else {}

    @property
    def is_crowded(self) -> bool:
        """Whether more jobs wait than workers are free, without those of the background.

        Running jobs should then end after their running unit.
        """
        return self._foreground > self._free

    # For callers.

    def put(self, job: Job, timeout_s: float) -> QueuedJob:
        """Queue a job.

        Raises:
            ExecutorError: The queue is closed.
        """
        queued = QueuedJob(job, timeout_s)
        with self._changed:
            if self.closed.is_set():
                raise self._refusal
            becomes_crowded = self._insert(queued, len(self._jobs) if queued.job.is_background else self._foreground)
            self._changed.notify()
        if becomes_crowded:
            self._wake_workers()
        return queued

    async def wait_for(
        self, queued: QueuedJob, on_wait: OnWait, on_unit: OnUnit = ignore_unit
    ) -> tuple[UnitResult, ...]:
        """Wait for the results, and call `on_unit` with each.

        Cancelling the wait cancels the job. Raises the error of a failed job.
        """
        loop, changed, delivered = asyncio.get_running_loop(), asyncio.Event(), 0

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: no caller waits
                loop.call_soon_threadsafe(changed.set)

        queued.on_change = wake
        try:
            while True:
                changed.clear()
                is_over = queued.is_over  # read before the results: no result follows once it is true
                while delivered < len(queued.results):
                    delivered += 1
                    on_unit(queued.results[delivered - 1])
                if is_over:
                    return queued.outcome()
                timer = loop.call_later(POSITION_INTERVAL_S, changed.set)
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
        """Wait until the first worker is registered, and return its identity.

        Raises:
            ExecutorError: No worker can be started, or the queue is closed.
        """
        with self._changed:
            if self._identity is not None:
                return self._identity
            if self.closed.is_set():
                raise self._refusal
            known = self._identity_known
        return await asyncio.wrap_future(known)

    def _position(self, queued: QueuedJob) -> int:
        """Position in the queue, at most half an interval old. 1 is next, 0 is a job that does not wait.

        All jobs are counted in one pass. A search for each of them would take quadratic time.
        """
        with self._changed:
            if queued.position and time.monotonic() >= self._counted_at + POSITION_INTERVAL_S / 2:
                for position, waiting in enumerate(self._jobs, 1):
                    waiting.position = position
                self._counted_at = time.monotonic()
            return queued.position

    def _cancel(self, queued: QueuedJob) -> None:
        with self._changed:
            queued.cancelled.set()
            if queued.position:
                self._jobs.remove(queued)
                self._leave(queued)
        self._wake_workers()

    def _wake_workers(self) -> None:
        for wake in tuple(self.wakeups):
            wake()

    # For workers.

    def register_worker(self, identity: Identity) -> None:
        """Register a worker that is ready. The first one sets the queue's identity.

        Raises:
            IdentityError: The worker has another identity. It must not take jobs.
        """
        with self._changed:
            if self._identity is None:
                self._identity = identity
                self._identity_known.set_result(identity)
            elif identity.key != self._identity.key:
                differing = "; ".join(identity.differences(self._identity.facts))
                raise IdentityError(f"it would give other results than the workers before it: {differing}")
            self.workers += 1

    def unregister_worker(self) -> None:
        """Note that a registered worker has ended."""
        with self._changed:
            self.workers -= 1

    def take(self, timeout_s: float | None = None) -> QueuedJob | None:
        """Wait for a job and take it. Returns None after the timeout, or if the queue is closed."""
        with self._changed:
            self._free += 1
            self._changed.wait_for(lambda: self._jobs or self.closed.is_set(), timeout_s)
            self._free -= 1
            if not self._jobs:
                return None
            self._busy += 1
            queued = self._jobs.popleft()
            self._leave(queued)
            return queued

    def finish(self, queued: QueuedJob) -> None:
        """End a job whose results are all delivered."""
        self._release()
        queued.end()

    def fail(self, queued: QueuedJob, error: Exception) -> None:
        """End a job with an error."""
        self._release()
        queued.end(error)

    def put_back(self, queued: QueuedJob) -> None:
        """Put a job back at the front of the queue."""
        becomes_crowded = False
        with self._changed:
            self._release()
            if self.closed.is_set():
                queued.end(self._refusal)
            elif not queued.cancelled.is_set():
                becomes_crowded = self._insert(queued, self._foreground if queued.job.is_background else 0)
                self._changed.notify()
        if becomes_crowded:
            self._wake_workers()

    def fail_waiting(self, error: ExecutorError) -> None:
        """Fail every queued job, and every caller that waits for the identity."""
        with self._changed:
            failed = list(self._jobs)
            self._jobs.clear()
            for queued in failed:
                self._leave(queued)
            if self._identity is None:
                self._identity_known.set_exception(error)
                self._identity_known = _uncancellable_future()
        for queued in failed:
            queued.end(error)

    def close(self, error: ExecutorError | None = None) -> None:
        """Accept no more jobs, and fail the queued ones and all later callers with an error, if one is given."""
        with self._changed:
            self._refusal = error or self._refusal
            self.closed.set()
            self._changed.notify_all()
        self.fail_waiting(self._refusal)

    def _insert(self, queued: QueuedJob, index: int) -> bool:
        """Insert a job. Returns whether the queue becomes crowded by it. One that was crowded has woken all."""
        was_crowded = self.is_crowded
        self._jobs.insert(index, queued)
        queued.position = index + 1
        self._foreground += not queued.job.is_background
        return self.is_crowded and not was_crowded

    def _leave(self, queued: QueuedJob) -> None:
        """Note that a job waits no more."""
        queued.position = 0
        self._foreground -= not queued.job.is_background

    def _release(self) -> None:
        with self._changed:
            self._busy -= 1
