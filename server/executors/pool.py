"""The default executor: a pool of worker processes that share one queue of jobs, first come first served.

A thread looks after each worker. Results go back through futures, so any event loop may wait for them.
"""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.executors.queued import QueuedExecutor
from ml_trainer_env.server.executors.supervisor import WorkerSupervisor
from ml_trainer_env.server.executors.worker_process import WorkerProcess, WorkerSettings

__all__ = ["ProcessPoolExecutor"]


class ProcessPoolExecutor(QueuedExecutor):
    """Keeps the executor contract with worker processes that can be killed.

    If a worker dies, another one takes its job on from the last unit that was done; a unit is tried three times at
    most. A job that is cancelled or over its time stops at its next batch, or its worker is killed.

    Args:
        workers: How many worker processes, at least 1.
        torch_threads: How many threads each one's torch computes with.
        memory_mb: How much private memory a worker may have: a job that needs more fails. None for no
            limit. Without effect where the system does not enforce `RLIMIT_DATA` (macOS).
        probe: Reference of the engine's probe.
        options: Options of the jobs, which belong to the identity.
    """

    def __init__(
        self,
        workers: int = 1,
        torch_threads: int = 2,
        memory_mb: int | None = None,
        *,
        probe: str,
        options: Mapping[str, int | str] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        settings = WorkerSettings(torch_threads, memory_mb, probe, options)

        def start_worker() -> WorkerProcess:
            return WorkerProcess(settings)

        self._supervisors = [
            WorkerSupervisor(self._queue, start_worker, self._fail_if_none_is_ready) for _ in range(workers)
        ]
        self._started = False

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers that are up."""
        return [pid for supervisor in self._supervisors if (pid := supervisor.pid) is not None]

    @property
    def worker_deaths(self) -> int:
        """Workers lost since the start, for whatever reason but `close`."""
        return sum(supervisor.deaths for supervisor in self._supervisors)

    @property
    def ready(self) -> bool:
        """Whether at least one worker is warm."""
        return any(supervisor.ready for supervisor in self._supervisors)

    @property
    def trouble(self) -> str | None:
        """Why no worker is ready, in words; None if there is no more to say than that workers are starting."""
        troubles = [supervisor.trouble for supervisor in self._supervisors if supervisor.trouble is not None]
        return troubles[0] if troubles and not self.ready else None

    async def start(self) -> None:
        """Begin to start the workers."""
        if not self._started:
            self._started = True
            for supervisor in self._supervisors:
                supervisor.thread.start()

    async def close(self) -> None:
        """Kill the workers and wait for the threads that look after them."""
        self._queue.close()
        for supervisor in self._supervisors:
            supervisor.kill_worker()
        for supervisor in self._supervisors:
            if supervisor.thread.is_alive():
                await asyncio.to_thread(supervisor.thread.join)

    def _fail_if_none_is_ready(self, error: ExecutorError) -> None:
        if not self.ready:
            self._queue.fail_waiting(error)
