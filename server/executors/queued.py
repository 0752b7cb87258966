"""What executors have in common: jobs go through a queue, and callers wait for them."""

from abc import ABC, abstractmethod

from ml_trainer_env.server.executors.contract import (
    EpochJob,
    EpochResult,
    HeldOutJob,
    Job,
    JobResult,
    OnWait,
    wait_quietly,
)
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.tickets import JobQueue

__all__ = ["QueuedExecutor"]


class QueuedExecutor(ABC):
    """The callers' half of an executor. The other half takes tickets from `_queue` and does their jobs."""

    def __init__(self) -> None:
        self._queue = JobQueue()

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return self._queue.waiting

    @property
    def busy(self) -> int:
        """Workers with a job."""
        return self._queue.busy

    @abstractmethod
    async def start(self) -> None:
        """Make ready to take jobs. May be called again, and then does nothing."""

    async def identity(self) -> Identity:
        """What results depend on besides their jobs."""
        await self.start()
        return await self._queue.identity()

    async def run_epoch(self, job: EpochJob, timeout_s: float, on_wait: OnWait = wait_quietly) -> EpochResult:
        """Train for one epoch."""
        result = await self._run(job, timeout_s, on_wait)
        assert isinstance(result, EpochResult)
        return result

    async def held_out_accuracy(self, job: HeldOutJob, timeout_s: float, on_wait: OnWait = wait_quietly) -> float:
        """Share of the held-out images classified right."""
        result = await self._run(job, timeout_s, on_wait)
        assert isinstance(result, float)
        return result

    async def _run(self, job: Job, timeout_s: float, on_wait: OnWait) -> JobResult:
        ticket = self._queue.put(job, timeout_s)
        await self.start()
        return await self._queue.wait_for(ticket, on_wait)
