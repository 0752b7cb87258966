"""Base class of executors: it queues jobs, and callers wait for the results."""

from abc import ABC, abstractmethod

from ml_trainer_env.server.executors.contract import OnUnit, OnWait, ignore_unit, wait_quietly
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.job import Job, UnitResult
from ml_trainer_env.server.executors.job_queue import JobQueue

__all__ = ["QueuedExecutor"]


class QueuedExecutor(ABC):
    """The half of an executor that callers use. A subclass takes jobs from `_queue` and runs them.

    Args:
        queue: The queue. None for a new one.
    """

    def __init__(self, queue: JobQueue | None = None) -> None:
        self._queue = queue or JobQueue()

    @property
    def waiting(self) -> int:
        """Number of jobs in the queue."""
        return self._queue.waiting

    @property
    def busy(self) -> int:
        """Number of workers that run a job."""
        return self._queue.busy

    @abstractmethod
    async def start(self) -> None:
        """Start the workers. A second call does nothing."""

    async def identity(self) -> Identity:
        """Wait until the first worker is ready, and return the identity."""
        await self.start()
        return await self._queue.identity()

    async def run(
        self, job: Job, timeout_s: float, on_wait: OnWait = wait_quietly, on_unit: OnUnit = ignore_unit
    ) -> tuple[UnitResult, ...]:
        """Run the units of a job, one after another."""
        queued = self._queue.put(job, timeout_s)
        await self.start()
        return await self._queue.wait_for(queued, on_wait, on_unit)
