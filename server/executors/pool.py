"""The default executor: a pool of worker processes that share one queue of jobs.

A thread supervises each worker. Any event loop may wait for results.
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
    """An executor with worker processes, which can be killed.

    If a worker dies, another one continues its job after the last unit that is done. A unit is tried at most three
    times. A job stops at its next batch when it is cancelled or exceeds its time. A worker that does not stop is
    killed.

    Args:
        workers: Number of worker processes, at least 1.
        torch_threads: Number of threads that torch computes with in each worker.
        memory_mb: Limit for the private memory of a worker, in MB. A job that needs more fails. None for no limit.
            It has no effect where the system does not enforce `RLIMIT_DATA` (macOS).
        probe: Reference of the engine's probe.
        options: Options of the jobs. They are part of the identity.
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
        """Process ids of the running workers."""
        return [pid for supervisor in self._supervisors if (pid := supervisor.pid) is not None]

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

    def _fail_if_none_is_ready(self, error: ExecutorError) -> None:
        if not self.ready:
            self._queue.fail_waiting(error)
