"""The reference executor, for tests and small scripts. It runs jobs in a thread of this process."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from ml_trainer_env.server.executors.contract import Executor, ExecutorError
from ml_trainer_env.server.executors.job import UnitResult
from ml_trainer_env.server.executors.job_queue import QueuedJob, closed_error
from ml_trainer_env.server.executors.queued import QueuedExecutor

if TYPE_CHECKING:
    from ml_trainer_env.server.executors.runner import JobRunner

__all__ = ["InProcessExecutor"]

_POLL_S = 0.01
"""Seconds between two looks at whether the thread has ended."""


class InProcessExecutor(QueuedExecutor):
    """An executor with one thread as its worker. The thread cannot be killed and cannot die.

    A unit stops at its next batch when it is cancelled, when its time is over, and at `close`. A job function without
    batches runs to its end.

    Args:
        torch_threads: Number of threads that torch computes with.
        probe: Reference of the engine's probe.
        options: Options of the jobs. They are part of the identity.
    """

    def __init__(
        self, torch_threads: int = 2, *, probe: str, options: Mapping[str, int | str] = MappingProxyType({})
    ) -> None:
        super().__init__()
        self._torch_threads = torch_threads
        self._probe = probe
        self._options = options
        self._thread = threading.Thread(target=self._serve, name="trainer", daemon=True)

    @property
    def worker_deaths(self) -> int:
        """Always 0."""
        return 0

    @property
    def ready(self) -> bool:
        """Whether the executor is open. Torch is imported when the thread starts."""
        return not self._queue.closed.is_set()

    @property
    def trouble(self) -> str | None:
        """Always None."""
        return None

    async def lane(self, key: str | None = None) -> Executor:
        """Return this executor: its worker has one identity."""
        return self

    async def start(self) -> None:
        """Start the thread."""
        if self._thread.ident is None:
            self._thread.start()

    async def close(self) -> None:
        """Stop at the next batch of the running job, and wait for the thread."""
        self._queue.close()
        # No thread waits for the thread: while Python shuts down, none can be started.
        while self._thread.is_alive():
            await asyncio.sleep(_POLL_S)

    def _serve(self) -> None:
        # A late import: a server that trains in worker processes never loads torch.
        from ml_trainer_env.server.executors.runner import JobRunner

        try:
            runner = JobRunner(self._torch_threads, self._probe, self._options)
            self._queue.register_worker(runner.identity)
        except Exception as error:  # the thread's boundary: the callers receive it
            self._queue.close(ExecutorError(f"training cannot be started: {error}"))
        while queued := self._queue.take():
            try:
                self._run(runner, queued)
            except Exception as error:  # the thread's boundary: the caller of the job receives it
                self._queue.fail(queued, error)
            else:
                self._queue.finish(queued)

    def _run(self, runner: "JobRunner", queued: QueuedJob) -> None:
        from ml_trainer_env.server.executors.runner import is_out_of_memory
        from ml_trainer_env.server.trainer.errors import Interrupted

        deadline = time.monotonic() + queued.timeout_s

        def interrupted() -> bool:
            return queued.cancelled.is_set() or self._queue.closed.is_set() or time.monotonic() > deadline

        def deliver(complete: Callable[[], UnitResult], _: bool) -> None:
            nonlocal deadline
            queued.deliver(complete())
            deadline = time.monotonic() + queued.timeout_s

        try:
            runner.run(queued.rest(), interrupted, deliver, lambda: self._queue.is_crowded)
        except Interrupted:
            raise closed_error() if self._queue.closed.is_set() else queued.timeout_error() from None
        except Exception as error:
            if is_out_of_memory(error):
                raise ExecutorError(f"{queued.job.a_unit} needed more memory than there is") from error
            raise
