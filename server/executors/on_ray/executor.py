"""The executor on a Ray cluster: warm actors on any number of machines share one queue of jobs."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from ml_trainer_env.server.executors.on_ray.actor import Place
from ml_trainer_env.server.executors.on_ray.cluster import RayCluster
from ml_trainer_env.server.executors.on_ray.worker import RayWorker
from ml_trainer_env.server.executors.supervised import SupervisedExecutor
from ml_trainer_env.server.executors.worker_process import WorkerSettings

__all__ = ["RayExecutor"]


class RayExecutor(SupervisedExecutor[RayWorker]):
    """An executor with actors on the nodes of a Ray cluster. They end with this process, however it ends.

    Nodes may come and go. A worker whose node is lost is started anew on another one. If no node has enough free
    processors, it waits until one has. Workers on nodes of another kind may have another identity: each identity has
    a lane of its own.

    Args:
        address: Host and port of the cluster's head.
        workers: Number of actors, at least 1. Those for which the cluster has no place wait for one.
        torch_threads: Number of threads that torch computes with in each actor, and of processors that Ray reserves.
        memory_mb: Limit for the private memory of an actor, in MB. A job that needs more fails. None for no limit.
        probe: Reference of the engine's probe.
        options: Options of the jobs. They are part of the identity.

    Raises:
        RayAddressError: The cluster may not be joined.
    """

    def __init__(
        self,
        address: str,
        workers: int = 1,
        torch_threads: int = 2,
        memory_mb: int | None = None,
        *,
        probe: str,
        options: Mapping[str, int | str] = MappingProxyType({}),
    ) -> None:
        cluster = RayCluster(address)
        settings = WorkerSettings(torch_threads, memory_mb, probe, dict(options))
        super().__init__(workers, lambda: RayWorker(cluster, settings), is_mixed=True)
        self._cluster = cluster

    @property
    def places(self) -> list[Place]:
        """Where the actors run that have a place."""
        return [place for worker in self._workers if (place := worker.place) is not None]

    async def close(self) -> None:
        """Kill the actors, wait for the threads that supervise them, and leave the cluster."""
        await super().close()
        await asyncio.to_thread(self._cluster.close)
