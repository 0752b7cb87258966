"""Base class of executors whose workers are processes, each supervised by a thread."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from ml_trainer_env.server.executors.contract import ExecutorError
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
    """

    def __init__(self, workers: int, start_worker: Callable[[], AnyWorker]) -> None:
        super().__init__()
        self._supervisors = [
            WorkerSupervisor(self._queue, start_worker, self._fail_if_none_is_ready) for _ in range(workers)
        ]
        self._started = False

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

    async def start(self) -> None:
        """Start the workers. Returns before they are warm."""
        if not self._started:
            self._started = True
            for supervisor in self._supervisors:
                supervisor.thread.start()

    async def close(self) -> None:
        """Kill the workers and wait for the threads that supervise them."""
        self._queue.close()
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
            self._queue.fail_waiting(error)
