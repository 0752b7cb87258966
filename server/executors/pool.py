"""The default executor: a pool of worker processes that share one queue of jobs."""

from collections.abc import Mapping
from types import MappingProxyType

from ml_trainer_env.server.executors.supervised import SupervisedExecutor
from ml_trainer_env.server.executors.worker_process import WorkerProcess, WorkerSettings

__all__ = ["ProcessPoolExecutor"]


class ProcessPoolExecutor(SupervisedExecutor[WorkerProcess]):
    """An executor with worker processes of this machine. They end with this process, however it ends.

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
        settings = WorkerSettings(torch_threads, memory_mb, probe, options)
        super().__init__(workers, lambda: WorkerProcess(settings))

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the running workers."""
        return [worker.pid for worker in self._workers]
