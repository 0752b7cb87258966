"""What an epoch costs on Ray in place of the pool, and how it scales with nodes: figures in benchmarks/RESULTS.md.

    python benchmarks/scale.py --epochs 60                 # needs the extra [ray]; starts a cluster on this machine
    python benchmarks/scale.py --journals                  # needs [postgresql]: calls a second of 1 and 3 servers

Overhead is the wall time of a job of one epoch less the time that its worker says the epoch took. Pool and Ray take
turns, with the same jobs: either goes on from its own last state, which the worker has, or from a state that is sent.
Nodes are raylets of this machine, with one worker of one torch thread each: they share its cores, so their throughput
says little. `benchmarks/simulate.py` has epochs that only wait, and a model.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "doubles"))

from ray_nodes import RayNode, RayNodes, ray_cluster
from simulation.journals import calls_per_s, places

from ml_trainer_env.server.executors.contract import Executor
from ml_trainer_env.server.executors.job import Job, UnitResult
from ml_trainer_env.server.executors.pool import ProcessPoolExecutor
from ml_trainer_env.server.trainer import PROBE
from ml_trainer_env.server.trainer.arrays import State
from ml_trainer_env.server.trainer.config import EpochSettings, TrainingConfig
from ml_trainer_env.server.trainer.examples import Examples, permuted
from ml_trainer_env.server.trainer.kinds import AugmentationKind
from ml_trainer_env.server.trainer.schedules import LearningRatePlan, LrSchedule
from ml_trainer_env.server.trainer.state import FreshState

LIMIT_S = 600.0
JOURNAL_SERVERS = (1, 3)
JOURNAL_SESSIONS = 16
JOURNAL_S = 4.0
JOURNAL_ROUNDS = 3
Make = Callable[[int], Executor]


def epoch_job(seed: int) -> Job:
    """An epoch of `easy_mnist`'s network on 2,000 drawn images."""
    source = np.random.default_rng(3)
    images, labels = source.integers(0, 256, (2_200, 28, 28), np.uint8), source.integers(0, 10, 2_200)
    held_out = images[2_000:], labels[2_000:]
    data = Examples("scale", AugmentationKind.DIGITS, images[:2_000], labels[:2_000], *held_out, *held_out)
    settings = EpochSettings(TrainingConfig(), LearningRatePlan(LrSchedule.CONSTANT, 0.001, 0, 10))
    jobs = "ml_trainer_env.server.trainer"
    return Job(
        f"{jobs}.jobs:train_epoch",
        f"{jobs}.data:prepare",
        FreshState("simple_mlp", seed).to_state(),
        settings,
        permuted(data, None),
        unit="epoch",
    )


async def overheads_s(executors: dict[str, Executor], epochs: int, is_sent: bool) -> dict[str, list[float]]:
    """Seconds that each epoch took beside its training, by executor."""
    found: dict[str, list[float]] = {name: [] for name in executors}
    jobs = {name: epoch_job(1) for name in executors}
    for _ in range(epochs):
        for name, executor in executors.items():
            began = time.perf_counter()
            (result,) = await executor.run(jobs[name], LIMIT_S)
            found[name].append(time.perf_counter() - began - result.seconds)
            jobs[name] = replace(jobs[name], state=_next_state(result, is_sent))
    return found


def _next_state(result: UnitResult, is_sent: bool) -> State:
    assert result.state is not None
    return State(dict(result.state.arrays), result.state.facts) if is_sent else result.state


async def throughput(executor: Executor, jobs: int, epochs: int) -> tuple[float, float]:
    """Epochs a second of several jobs at once, and the CPU of this process an epoch, in seconds."""
    began, cpu = time.perf_counter(), time.process_time()
    runs = (executor.run(replace(epoch_job(seed), units=epochs), LIMIT_S) for seed in range(jobs))
    done = sum(map(len, await asyncio.gather(*runs)))
    return done / (time.perf_counter() - began), (time.process_time() - cpu) / done


def resident_mb(node: RayNode) -> dict[str, float]:
    """Proportional memory of a node's processes, in MB, with and without its workers."""
    found = {"ray": 0.0, "workers": 0.0}
    for pid in node.pids:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        (pss,) = (int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
        found["workers" if b"TrainerActor" in command else "ray"] += pss / 1024
    return found


async def measure(cluster: RayNodes, epochs: int) -> None:
    from ml_trainer_env.server.executors.on_ray.executor import RayExecutor  # late: the token's variables must be set

    def on_ray(workers: int) -> RayExecutor:
        return RayExecutor(cluster.address, workers, 1, probe=PROBE)

    nodes = [cluster.add_node(1)]
    executors: dict[str, Executor] = {"pool": ProcessPoolExecutor(1, 1, probe=PROBE), "ray": on_ray(1)}
    for executor in executors.values():
        await executor.identity()
        await executor.run(epoch_job(1), LIMIT_S)
    for is_sent in (False, True):
        found = await overheads_s(executors, epochs, is_sent)
        for name, seconds in found.items():
            low, middle, high = (1000 * value for value in statistics.quantiles(seconds, n=4))
            text = "sent" if is_sent else "kept by the worker"
            print(
                f"overhead {name:4}, state {text}: median {middle:.1f} ms [{low:.1f}, {high:.1f}], n = {len(seconds)}"
            )
    for name, executor in executors.items():
        rate, cpu_s = await throughput(executor, 4, epochs)
        print(f"{name:4}, 1 worker: {rate:.2f} epochs/s, {1000 * cpu_s:.2f} ms of this process's CPU an epoch")
    memory = resident_mb(nodes[0])
    print(f"memory of a node: {memory['ray']:.0f} MB without its worker, which has {memory['workers']:.0f} MB (PSS)")
    for executor in executors.values():
        await executor.close()
    for count in (2, 3):
        nodes.append(await asyncio.to_thread(cluster.add_node, 1))
        executor = on_ray(count)
        await executor.start()
        while len({place.node for place in executor.places}) < count or executor.busy:
            await asyncio.sleep(0.1)
        await asyncio.gather(*(executor.run(epoch_job(9 + number), LIMIT_S) for number in range(4 * count)))
        rate, _ = await throughput(executor, 2 * count, epochs)
        print(f"ray, {count} nodes with a worker each: {rate:.2f} epochs/s")
        await executor.close()


def measure_journals() -> None:
    """Print the calls a second that 1 and 3 servers record, each for sessions that never pause."""
    with places() as found:
        for servers in JOURNAL_SERVERS:
            for name, place in found.items():
                rates = [
                    sum(calls_per_s(place, servers, JOURNAL_SESSIONS, JOURNAL_S, f"run{number}"))
                    for number in range(JOURNAL_ROUNDS)
                ]
                low, middle, high = sorted(rates)[0], statistics.median(rates), sorted(rates)[-1]
                print(
                    f"{name}, {servers} servers of {JOURNAL_SESSIONS} sessions: {middle:.0f} [{low:.0f}, {high:.0f}] "
                    f"calls/s, n = {len(rates)} rounds of {JOURNAL_S:g} s",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the executor on Ray beside the pool, or the journal.")
    parser.add_argument("--epochs", type=int, default=60, help="epochs of each measurement (default: %(default)s)")
    parser.add_argument("--journals", action="store_true", help="measure the journals in place of the executors")
    chosen = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    if chosen.journals:
        measure_journals()
    else:
        with ray_cluster() as cluster:
            os.environ.update(cluster.variables)
            asyncio.run(measure(cluster, chosen.epochs))
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
