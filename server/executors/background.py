"""An executor whose jobs wait behind all others."""

from dataclasses import replace

from ml_trainer_env.server.executors.contract import Executor, OnUnit, OnWait, ignore_unit, wait_quietly
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.job import Job, UnitResult

__all__ = ["BackgroundExecutor"]


class BackgroundExecutor:
    """Gives jobs to another executor, as jobs of the background.

    Args:
        executor: The executor. It is not started and not closed here.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    @property
    def waiting(self) -> int:
        """Number of jobs in the queue."""
        return self._executor.waiting

    @property
    def busy(self) -> int:
        """Number of workers that run a job."""
        return self._executor.busy

    @property
    def worker_deaths(self) -> int:
        """Number of workers lost since the start."""
        return self._executor.worker_deaths

    @property
    def ready(self) -> bool:
        """Whether at least one worker is warm."""
        return self._executor.ready

    @property
    def trouble(self) -> str | None:
        """Why no worker is ready, as text."""
        return self._executor.trouble

    async def start(self) -> None:
        """Do nothing."""

    async def identity(self) -> Identity:
        """Return the identity."""
        return await self._executor.identity()

    async def lane(self, key: str | None = None) -> Executor:
        """Return a lane in the background."""
        return BackgroundExecutor(await self._executor.lane(key))

    async def run(
        self, job: Job, timeout_s: float, on_wait: OnWait = wait_quietly, on_unit: OnUnit = ignore_unit
    ) -> tuple[UnitResult, ...]:
        """Run the units of a job, one after another."""
        return await self._executor.run(replace(job, is_background=True), timeout_s, on_wait, on_unit)

    async def close(self) -> None:
        """Do nothing."""
