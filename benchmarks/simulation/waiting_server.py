"""A real server whose epochs wait, on the pool or on Ray, and its workers."""

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving.processes import ROOT, Server, children, environment

sys.path.insert(0, str(ROOT / "tests" / "doubles"))

from ray_nodes import RayNodes, ray_cluster

__all__ = ["WaitingServer", "pool_server", "ray_nodes", "ray_server"]

BENCHMARKS = ROOT / "benchmarks"
LIMIT_S = 120.0


class WaitingServer(Server):
    """A server whose epochs wait.

    Args:
        folder: For its log, its journal and its models.
        epoch_s: Length of an epoch, in seconds.
        variables: Further environment variables.
        settings: `ML_TRAINER_*` variables, without that prefix.
    """

    def __init__(self, folder: Path, epoch_s: float, variables: Mapping[str, str], **settings: object) -> None:
        path = os.pathsep.join([environment(folder)["PYTHONPATH"], str(BENCHMARKS)])
        self._usage = folder / "usage.json"
        program = ("-m", "simulation.served", "--epoch-s", str(epoch_s))
        super().__init__(folder, program, {**variables, "PYTHONPATH": path}, **settings)

    def thread_times(self) -> dict[str, float]:
        """Return the processor time of the server's threads, in seconds by name. Blocks for a moment."""
        times: dict[str, float] = self._ask()["threads_s"]
        return times

    def wait_for_workers(self, count: int) -> None:
        """Wait until so many workers are ready."""
        ends_at = time.monotonic() + LIMIT_S
        while self._ask()["ready"] < count:
            if time.monotonic() > ends_at:
                raise TimeoutError(f"fewer than {count} workers are ready")
            time.sleep(0.5)

    def _ask(self) -> dict[str, Any]:
        self._usage.unlink(missing_ok=True)
        os.kill(self.pid, signal.SIGUSR1)
        ends_at = time.monotonic() + LIMIT_S
        while not self._usage.exists():
            if time.monotonic() > ends_at:
                raise TimeoutError("the server does not say what it uses")
            time.sleep(0.01)
        found: dict[str, Any] = json.loads(self._usage.read_text())
        return found

    def worker_pids(self) -> list[int]:
        """Process ids of the pool's workers."""
        return children(self.pid)


_FIXED = {"torch_threads": 1, "cache": "no", "max_sessions": 2_000}


@contextmanager
def pool_server(workers: int, epoch_s: float) -> Iterator[WaitingServer]:
    """Run a server with a pool."""
    with (
        tempfile.TemporaryDirectory(prefix="waiting-") as folder,
        WaitingServer(Path(folder), epoch_s, {}, workers=workers, **_FIXED) as server,
    ):
        yield server


@contextmanager
def ray_nodes(nodes: int, workers_per_node: int) -> Iterator[RayNodes]:
    """Run a Ray cluster on this machine: raylets as processes, with a processor for each worker."""
    with ray_cluster(PYTHONPATH=str(BENCHMARKS)) as cluster:
        for _ in range(nodes):
            cluster.add_node(workers_per_node)
        yield cluster


@contextmanager
def ray_server(cluster: RayNodes, workers: int, epoch_s: float) -> Iterator[WaitingServer]:
    """Run a server with workers on a Ray cluster. They are all ready if the pids of the nodes say so."""
    settings = {"executor": "ray", "ray_address": cluster.address, "workers": workers, **_FIXED}
    with (
        tempfile.TemporaryDirectory(prefix="waiting-") as folder,
        WaitingServer(Path(folder), epoch_s, cluster.variables, **settings) as server,
    ):
        yield server
