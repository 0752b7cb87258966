"""The reference executor: jobs run in a thread of this process. For tests and small scripts."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ml_trainer_env.server.executors.contract import (
    EpochJob,
    EpochResult,
    ExecutorError,
    HeldOutJob,
    Job,
)

if TYPE_CHECKING:
    from ml_trainer_env.server.executors.jobs import JobRunner

__all__ = ["InProcessExecutor"]


class InProcessExecutor:
    """Keeps the executor contract, save that an epoch over its time is abandoned, not killed.

    Args:
        torch_threads: How many threads torch computes with.
    """

    def __init__(self, torch_threads: int = 2) -> None:
        self._torch_threads = torch_threads
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="trainer")
        self._runner: JobRunner | None = None
        self._closed = False

    async def start(self) -> None:
        """Nothing to do: torch is imported with the first job."""

    async def run_epoch(self, job: EpochJob, timeout_s: float) -> EpochResult:
        """Train for one epoch."""
        result = await self._run(job, timeout_s)
        assert isinstance(result, EpochResult)
        return result

    async def held_out_accuracy(self, job: HeldOutJob, timeout_s: float) -> float:
        """Share of the held-out images classified right."""
        result = await self._run(job, timeout_s)
        assert isinstance(result, float)
        return result

    async def close(self) -> None:
        """Stop, when the job under way is through."""
        self._closed = True
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    async def _run(self, job: Job, timeout_s: float) -> EpochResult | float:
        if self._closed:
            raise ExecutorError("the executor is closed")
        work = asyncio.wrap_future(self._thread.submit(self._work, job))
        try:
            return await asyncio.wait_for(work, timeout_s)
        except TimeoutError:
            raise ExecutorError(f"the epoch took longer than {timeout_s:g} s") from None

    def _work(self, job: Job) -> EpochResult | float:
        if self._runner is None:
            # Imported here so that a server that trains in worker processes never loads torch.
            from ml_trainer_env.server.executors.jobs import JobRunner

            self._runner = JobRunner(self._torch_threads)
        return self._runner.run(job)
