"""The queue of an executor: jobs wait on one side, in asyncio; workers are served on the other, in threads.

First come, first served. A job may leave before its turn, and one whose worker died goes back to
the front. Nothing here runs a job.
"""

import asyncio
import contextlib
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

from ml_trainer_env.server.executors.contract import ExecutorError, Job, JobResult, OnWait
from ml_trainer_env.server.executors.identity import Identity, IdentityError

__all__ = ["JobQueue", "Ticket", "executor_closed"]

TELL_PLACE_EVERY_S = 1.0
"""How often a job that waits is told its place."""


def executor_closed() -> ExecutorError:
    """What jobs fail with when their executor closes."""
    return ExecutorError("the executor is closed")


Result = TypeVar("Result")


def _begun_future() -> "Future[Result]":
    """A future that only the queue resolves: who waits for it cannot cancel it."""
    future: Future[Result] = Future()
    future.set_running_or_notify_cancel()
    return future


@dataclass(slots=True, eq=False)
class Ticket:
    """A job on its way through the queue.

    Attributes:
        job: What is to be done.
        timeout_s: Time it may take once it has begun.
        attempts: How many workers have tried so far.
        cancelled: Set when nobody waits for the result any more.
        future: Where the result goes.
    """

    job: Job
    timeout_s: float
    attempts: int = 0
    cancelled: threading.Event = field(default_factory=threading.Event)
    future: Future[JobResult] = field(default_factory=_begun_future)

    def overdue(self) -> ExecutorError:
        """What it fails with when it runs over its time."""
        return ExecutorError(f"the epoch took longer than {self.timeout_s:g} s")


class JobQueue:
    """Tickets in order. A ticket that was taken must be finished, failed or put back."""

    def __init__(self) -> None:
        self._tickets: deque[Ticket] = deque()
        self._changed = threading.Condition()
        self._busy = 0
        self._identity: Identity | None = None
        self._identity_known: Future[Identity] = _begun_future()
        self.closed = threading.Event()

    @property
    def waiting(self) -> int:
        """Tickets that nobody has taken."""
        return len(self._tickets)

    @property
    def busy(self) -> int:
        """Tickets taken, and not finished, failed or put back."""
        return self._busy

    # What waits for a job.

    def put(self, job: Job, timeout_s: float) -> Ticket:
        """Line up.

        Raises:
            ExecutorError: The queue is closed.
        """
        ticket = Ticket(job, timeout_s)
        with self._changed:
            if self.closed.is_set():
                raise executor_closed()
            self._tickets.append(ticket)
            self._changed.notify()
        return ticket

    async def wait_for(self, ticket: Ticket, on_wait: OnWait) -> JobResult:
        """Wait for the result, and tell the ticket's place meanwhile.

        Cancelling the wait cancels the ticket. Raises what the ticket failed with.
        """
        result = asyncio.wrap_future(ticket.future)
        try:
            while not result.done():
                await asyncio.wait([result], timeout=TELL_PLACE_EVERY_S)
                if not result.done() and (place := self._place(ticket)):
                    on_wait(place)
            return result.result()
        finally:
            if not result.done():
                result.cancel()
                self._cancel(ticket)

    async def identity(self) -> Identity:
        """The identity that the queue serves; waits until the first worker has told it.

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

    def _place(self, ticket: Ticket) -> int:
        """1 for the next to be taken, 0 if it has been taken."""
        with self._changed, contextlib.suppress(ValueError):
            return self._tickets.index(ticket) + 1
        return 0

    def _cancel(self, ticket: Ticket) -> None:
        with self._changed, contextlib.suppress(ValueError):
            ticket.cancelled.set()
            self._tickets.remove(ticket)

    # What does jobs.

    def serve(self, identity: Identity) -> None:
        """Take note that a worker is ready. The first one fixes the queue's identity.

        Raises:
            IdentityError: The worker's identity is another: it must not take tickets.
        """
        with self._changed:
            if self._identity is None:
                self._identity = identity
                self._identity_known.set_result(identity)
            elif identity.key != self._identity.key:
                differing = "; ".join(identity.differences(self._identity.facts))
                raise IdentityError(f"it would give other results than the workers before it: {differing}")

    def take(self, timeout_s: float | None = None) -> Ticket | None:
        """Wait for the first ticket; None if there is none in time, or the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._tickets or self.closed.is_set(), timeout_s)
            if not self._tickets:
                return None
            self._busy += 1
            return self._tickets.popleft()

    def finish(self, ticket: Ticket, result: JobResult) -> None:
        """Give the result to whoever waits for it."""
        self._let_go()
        ticket.future.set_result(result)

    def fail(self, ticket: Ticket, error: Exception) -> None:
        """Let whoever waits for the result know that there is none."""
        self._let_go()
        ticket.future.set_exception(error)

    def put_back(self, ticket: Ticket) -> None:
        """Let the next free worker try, before it takes any other ticket."""
        with self._changed:
            self._let_go()
            if self.closed.is_set():
                ticket.future.set_exception(executor_closed())
            elif not ticket.cancelled.is_set():
                self._tickets.appendleft(ticket)
                self._changed.notify()

    def fail_waiting(self, error: ExecutorError) -> None:
        """Fail every ticket that waits, and whoever waits for the identity."""
        with self._changed:
            failed = list(self._tickets)
            self._tickets.clear()
            if self._identity is None:
                self._identity_known.set_exception(error)
                self._identity_known = _begun_future()
        for ticket in failed:
            ticket.future.set_exception(error)

    def close(self) -> None:
        """Take no more tickets, and fail those that wait."""
        with self._changed:
            self.closed.set()
            self._changed.notify_all()
        self.fail_waiting(executor_closed())

    def _let_go(self) -> None:
        with self._changed:
            self._busy -= 1
