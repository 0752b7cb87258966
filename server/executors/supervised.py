"""Base class of executors whose workers are processes, each supervised by a thread."""

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ml_trainer_env.server.executors.contract import Executor, ExecutorError
from ml_trainer_env.server.executors.job_queue import JobQueue
from ml_trainer_env.server.executors.lanes import Lanes
from ml_trainer_env.server.executors.queued import QueuedExecutor
from ml_trainer_env.server.executors.supervisor import WorkerSupervisor
from ml_trainer_env.server.executors.worker_contract import Worker

__all__ = ["SupervisedExecutor"]

AnyWorker = TypeVar("AnyWorker", bound=Worker)


class SupervisedExecutor(QueuedExecutor, Generic[AnyWorker]):
    """An executor whose workers can die and be killed. Any event loop may wait for results.

    If a worker dies, another one continues its job after the last unit that is done. A unit is tried at most three
    times. A job stops at its next batch when it is cancelled or exceeds its time. A worker that does not stop is
    killed.

    Args:
        workers: Number of workers, at least 1.
        start_worker: Starts a worker. Called from the threads that supervise the workers.
        is_mixed: Whether workers may have several identities. Each then has a lane of its own.
    """

    def __init__(self, workers: int, start_worker: Callable[[], AnyWorker], *, is_mixed: bool = False) -> None:
        super().__init__()
        self._lanes = Lanes(self._queue, is_mixed)
        self._supervisors = [
            WorkerSupervisor(self._queue, self._lanes.join, start_worker, self._fail_if_none_is_ready)
            for _ in range(workers)
        ]
        self._lane_of: dict[JobQueue, _Lane] = {}
        self._started = False

    @property
    def waiting(self) -> int:
        """Number of jobs in the queues of all lanes."""
        return sum(queue.waiting for queue in self._lanes)

    @property
    def busy(self) -> int:
        """Number of workers that run a job."""
        return sum(queue.busy for queue in self._lanes)

    @property
    def worker_deaths(self) -> int:
        """Number of workers lost since the start. `close` does not count."""
        return sum(supervisor.deaths for supervisor in self._supervisors)

    @property
    def ready(self) -> bool:
        """Whether at least one worker is warm."""
        return any(supervisor.ready for supervisor in self._supervisors)

    @property
    def trouble(self) -> str | None:
        """Why no worker is ready, as text. None while workers start as usual."""
        troubles = [supervisor.trouble for supervisor in self._supervisors if supervisor.trouble is not None]
        return troubles[0] if troubles and not self.ready else None

    async def lane(self, key: str | None = None) -> Executor:
        """Return the workers of an identity; see `Executor`."""
        if not self._lanes.is_mixed:
            return self
        await self.identity()
        queue = (self._lanes.find(key) if key is not None else None) or self._lanes.choose()
        return self._lane_of.setdefault(queue, _Lane(self, queue))

    async def start(self) -> None:
        """Start the workers. Returns before they are warm."""
        if not self._started:
            self._started = True
            for supervisor in self._supervisors:
                supervisor.thread.start()

    async def close(self) -> None:
        """Kill the workers and wait for the threads that supervise them."""
        for queue in self._lanes:
            queue.close()
        for supervisor in self._supervisors:
            supervisor.kill_worker()
        for supervisor in self._supervisors:
            if supervisor.thread.is_alive():
                await asyncio.to_thread(supervisor.thread.join)

    @property
    def _workers(self) -> list[AnyWorker]:
        """The workers that were started and have not ended."""
        return [worker for supervisor in self._supervisors if (worker := supervisor.worker) is not None]

    def _fail_if_none_is_ready(self, error: ExecutorError) -> None:
        if not self.ready:
            for queue in self._lanes:
                queue.fail_waiting(error)


class _Lane(QueuedExecutor):
    """The workers of an executor that have one identity. It is started and closed with the executor."""

    def __init__(self, whole: SupervisedExecutor[Any], queue: JobQueue) -> None:
        super().__init__(queue)
        self._whole = whole

    @property
    def worker_deaths(self) -> int:
        """Number of workers lost since the start, those of other lanes included."""
        return self._whole.worker_deaths

    @property
    def ready(self) -> bool:
        """Whether at least one worker of the lane is warm."""
        return self._queue.workers > 0

    @property
    def trouble(self) -> str | None:
        """Why no worker of the executor is ready, as text."""
        return self._whole.trouble

    async def lane(self, key: str | None = None) -> Executor:
        """Return this lane."""
        return self

    async def start(self) -> None:
        """Start the executor."""
        await self._whole.start()

    async def close(self) -> None:
        """Do nothing."""
