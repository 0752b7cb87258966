"""The contract of a worker, as its supervisor uses it. A worker is a process that runs one job at a time."""

from collections.abc import Callable
from typing import Protocol

from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.job_queue import QueuedJob
from ml_trainer_env.server.executors.wakeup import Wakeup

__all__ = ["StartupProgress", "Worker", "WorkerDiedError"]


class WorkerDiedError(ExecutorError):
    """The worker ended by itself, or something else ended it."""


class StartupProgress(Protocol):
    """How far the start of a worker is."""

    @property
    def elapsed_s(self) -> float:
        """Wall time since the worker was asked for, in seconds."""
        ...

    def describe(self) -> str:
        """Return a text for the log."""
        ...


class Worker(Protocol):
    """A worker that was asked for. Its methods block. One thread uses it, and any thread may kill it."""

    @property
    def is_alive(self) -> bool:
        """Whether it can still become ready or take a job."""
        ...

    def wait_ready(self, on_wait: Callable[[StartupProgress], None]) -> Identity:
        """Wait until the worker is warm.

        Args:
            on_wait: Called about once a second meanwhile.

        Returns:
            The worker's identity.

        Raises:
            ExecutorError: The worker died, exceeded a limit or ran out of memory. It has ended.
        """
        ...

    def run(self, queued: QueuedJob, wakeup: Wakeup, is_crowded: Callable[[], bool]) -> None:
        """Run the rest of a job and deliver the result of each unit.

        Args:
            queued: The job. It is stopped when it is cancelled or a unit exceeds its time.
            wakeup: Set when `queued` was cancelled or another job was queued.
            is_crowded: Returns whether the job should end after its running unit.

        Raises:
            WorkerDiedError: The worker died.
            ExecutorError: The job was stopped. Its worker was killed if it did not stop. Or the worker ran out of
                memory and has ended.
            RuntimeError: The job raised an exception. This is a bug. The worker goes on.
        """
        ...

    def kill(self) -> None:
        """Kill the worker and wait for its end. May be called twice, and from any thread."""
        ...

    def close(self) -> None:
        """Kill the worker and release what belongs to it."""
        ...
