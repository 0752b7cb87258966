"""The default executor: a pool of worker processes that share one queue of epochs, first come first served.

A thread looks after each worker. Results go back through futures, so any event loop may wait for them.
"""

import asyncio

from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.executors.keeper import WorkerKeeper
from ml_trainer_env.server.executors.queued import QueuedExecutor
from ml_trainer_env.server.executors.worker_process import WorkerProcess

__all__ = ["ProcessPoolExecutor"]


class ProcessPoolExecutor(QueuedExecutor):
    """Keeps the executor contract with worker processes that can be killed.

    A job whose worker dies is begun anew by another, three times at the most. One that is cancelled or
    over its time stops at its next batch, or its worker is killed.

    Args:
        workers: How many worker processes, at least 1.
        torch_threads: How many threads each one's torch computes with.
        memory_mb: How much private memory a worker may have: a job that needs more fails. None for no
            limit. Without effect where the system does not enforce `RLIMIT_DATA` (macOS).
    """

    def __init__(self, workers: int = 1, torch_threads: int = 2, memory_mb: int | None = None) -> None:
        super().__init__()

        def start_worker() -> WorkerProcess:
            return WorkerProcess(torch_threads, memory_mb)

        self._keepers = [WorkerKeeper(self._queue, start_worker, self._fail_if_none_is_ready) for _ in range(workers)]
        self._started = False

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers that are up."""
        return [pid for keeper in self._keepers if (pid := keeper.pid) is not None]

    @property
    def worker_deaths(self) -> int:
        """Workers lost since the start, for whatever reason but `close`."""
        return sum(keeper.deaths for keeper in self._keepers)

    @property
    def ready(self) -> bool:
        """Whether at least one worker is warm."""
        return any(keeper.ready for keeper in self._keepers)

    @property
    def trouble(self) -> str | None:
        """Why no worker is ready, in words; None if there is no more to say than that workers are starting."""
        troubles = [keeper.trouble for keeper in self._keepers if keeper.trouble is not None]
        return troubles[0] if troubles and not self.ready else None

    async def start(self) -> None:
        """Begin to start the workers."""
        if not self._started:
            self._started = True
            for keeper in self._keepers:
                keeper.thread.start()

    async def close(self) -> None:
        """Kill the workers and wait for the threads that look after them."""
        self._queue.close()
        for keeper in self._keepers:
            keeper.kill_worker()
        for keeper in self._keepers:
            if keeper.thread.is_alive():
                await asyncio.to_thread(keeper.thread.join)

    def _fail_if_none_is_ready(self, error: ExecutorError) -> None:
        if not self.ready:
            self._queue.fail_waiting(error)
