"""Runs on this machine, beside what the model predicts for them. The model has not seen any of them."""

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from serving.figures import circumstances

from simulation.constants import Constants
from simulation.deployment import EASY, Deployment, Workload
from simulation.load import Measured, play
from simulation.model import Prediction, simulate
from simulation.outlook import print_row
from simulation.waiting_server import WaitingServer, pool_server, ray_nodes, ray_server

__all__ = ["compare"]

CORES = 2
EPOCH_S = 0.3
SIMULATED_S = 30.0


@dataclass(frozen=True)
class _Case:
    """A run: an executor with so many nodes and workers, and a workload."""

    executor: str
    nodes: int
    workers: int
    workload: Workload

    def predict(self, constants: Constants) -> Prediction:
        """Simulate it."""
        deployment = Deployment(self.workers, 1, self.executor, cores=CORES, network_mb_per_s=None, round_trip_s=0.0)
        task = replace(self.workload.task, epoch_s=EPOCH_S)
        workload = replace(self.workload, task=task)
        return simulate(constants, deployment, workload, seconds=SIMULATED_S, warm_up_s=5.0)


WORKLOADS = (Workload(EASY, 12, 5, 0.0), Workload(EASY, 12, 1, 1.0))
POOL_WORKERS = (4, 2)
RAY_NODES = (2, 1, 3)
WORKERS_PER_NODE = 2


def compare() -> None:
    """Print a table of predictions and measurements."""
    constants = Constants.load()
    print(f"constants: {constants.circumstances}\nruns: {circumstances()}\n")
    print_row("executor", "workers", "task, epochs, sessions, pause", "epochs/s", "predicted", "call, ms", "predicted")
    print_row(*["---"] * 7)
    errors: list[float] = []
    for nodes in RAY_NODES:
        workers = nodes * WORKERS_PER_NODE
        with ray_nodes(nodes, WORKERS_PER_NODE) as cluster, ray_server(cluster, workers, EPOCH_S) as server:
            errors += _play_cases(constants, server, "ray", nodes, workers, [])
    for workers in POOL_WORKERS:
        with pool_server(workers, EPOCH_S) as server:
            errors += _play_cases(constants, server, "pool", 1, workers, server.worker_pids())
    print(f"\nabsolute error: median {statistics.median(errors):.1%}, most {max(errors):.1%}, n = {len(errors)}")
    print(f"load at the end: {circumstances()}")


def _play_cases(
    constants: Constants, server: WaitingServer, executor: str, nodes: int, workers: int, pids: Sequence[int]
) -> list[float]:
    """Play all workloads on a server and print a row for each. Returns the errors."""
    server.wait_for_workers(workers)
    errors = []
    for number, workload in enumerate(WORKLOADS, 1):
        case = _Case(executor, nodes, workers, workload)
        measured, predicted = asyncio.run(play(server, workload, pids, 10_000 * number)), case.predict(constants)
        errors.append(abs(_rate(measured) / predicted.epochs_per_s - 1))
        _print_case(case, measured, predicted)
    return errors


def _rate(measured: Measured) -> float:
    return measured.epochs / measured.seconds


def _print_case(case: _Case, measured: Measured, predicted: Prediction) -> None:
    workload, rate = case.workload, _rate(measured)
    print_row(
        f"{case.executor}, {case.nodes} nodes" if case.executor == "ray" else case.executor,
        case.workers,
        f"{workload.task.name}, {workload.epochs}, {workload.sessions}, {workload.think_s:g} s",
        f"{rate:.2f} (n = {measured.epochs})",
        f"{predicted.epochs_per_s:.2f} ({predicted.epochs_per_s / rate - 1:+.0%})",
        f"{1000 * statistics.median(measured.latencies_s):.0f}",
        f"{1000 * predicted.latency_s:.0f}",
    )
