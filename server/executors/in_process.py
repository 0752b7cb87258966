"""The reference executor: jobs run in a thread of this process. For tests and small scripts."""

import asyncio
import threading
import time
from typing import TYPE_CHECKING

from ml_trainer_env.server.executors.contract import ExecutorError, JobResult
from ml_trainer_env.server.executors.queued import QueuedExecutor
from ml_trainer_env.server.executors.tickets import Ticket, executor_closed

if TYPE_CHECKING:
    from ml_trainer_env.server.executors.jobs import JobRunner

__all__ = ["InProcessExecutor"]


class InProcessExecutor(QueuedExecutor):
    """Keeps the executor contract with one thread for a worker, which cannot be killed and cannot die.

    An epoch that is cancelled, over its time or in the way of `close` stops at its next batch; a
    measurement on held-out images, which has no batches to stop at, runs to its end.

    Args:
        torch_threads: How many threads torch computes with.
    """

    def __init__(self, torch_threads: int = 2) -> None:
        super().__init__()
        self._torch_threads = torch_threads
        self._thread = threading.Thread(target=self._serve, name="trainer", daemon=True)

    @property
    def worker_deaths(self) -> int:
        """Always 0."""
        return 0

    @property
    def ready(self) -> bool:
        """Whether it is open: torch is imported when the thread starts."""
        return not self._queue.closed.is_set()

    @property
    def trouble(self) -> str | None:
        """Always None."""
        return None

    async def start(self) -> None:
        """Start the thread."""
        if self._thread.ident is None:
            self._thread.start()

    async def close(self) -> None:
        """Stop, at the next batch of the job under way."""
        self._queue.close()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join)

    def _serve(self) -> None:
        # Imported here so that a server that trains in worker processes never loads torch.
        from ml_trainer_env.server.executors.jobs import JobRunner

        try:
            runner = JobRunner(self._torch_threads)
            self._queue.serve(runner.identity)
        except Exception as error:  # the thread's boundary: whoever waits hears of it
            self._queue.fail_waiting(ExecutorError(f"training cannot be started: {error}"))
            self._queue.close()
        while ticket := self._queue.take():
            try:
                result = self._do(runner, ticket)
            except Exception as error:  # the thread's boundary: whoever waits for the job hears of it
                self._queue.fail(ticket, error)
            else:
                self._queue.finish(ticket, result)

    def _do(self, runner: "JobRunner", ticket: Ticket) -> JobResult:
        from ml_trainer_env.server.executors.jobs import lacks_memory
        from ml_trainer_env.server.trainer.errors import Interrupted

        deadline = time.monotonic() + ticket.timeout_s

        def interrupted() -> bool:
            return ticket.cancelled.is_set() or self._queue.closed.is_set() or time.monotonic() > deadline

        try:
            return runner.run(ticket.job, interrupted)
        except Interrupted:
            raise executor_closed() if self._queue.closed.is_set() else ticket.overdue() from None
        except Exception as error:
            if lacks_memory(error):
                raise ExecutorError("an epoch needed more memory than there is") from error
            raise
