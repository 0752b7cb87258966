"""Measures the constants of the model: on the pool, and on Ray with one node."""

import asyncio
import select
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from serving.clients import SocketSession
from serving.figures import circumstances
from serving.processes import usage

from ml_trainer_env.server.executors.job_queue import JobQueue
from ml_trainer_env.server.executors.wakeup import Wakeup
from ml_trainer_env.server.store.states import pack_state
from ml_trainer_env.server.trainer.arrays import State
from simulation.constants import Constants, ExecutorConstants, ServerConstants
from simulation.deployment import EASY, HARD, Deployment, Task, Workload
from simulation.journals import journal_constants, places
from simulation.load import Measured, play
from simulation.model import simulate
from simulation.waiting_server import WaitingServer, pool_server, ray_nodes, ray_server

__all__ = ["calibrate"]

EPOCH_S = 0.15
WORKERS = 2
SESSIONS = 4
"""More than workers, so that jobs yield and states travel, and few enough that the processors have time left."""

SHAPES = ((EASY, 1), (EASY, 5), (HARD, 1), (HARD, 5))
ALONE = Workload(EASY, 1, 1, 0.0)
LIGHT_SESSIONS = 100
LIGHT_S = 5.0
CORES = 2


@dataclass(frozen=True)
class _Run:
    """A workload that was played: megabytes of a state, epochs of a call, and what was measured."""

    state_mb: float
    epochs: int
    measured: Measured

    def per_call(self, *threads: str) -> float:
        """Processor time of some threads of the server for a call, in seconds."""
        return sum(self.measured.threads_s.get(name, 0.0) for name in threads) / self.measured.calls


def calibrate() -> Constants:
    """Measure all constants."""
    with places() as found:
        journals = {name: journal_constants(place) for name, place in found.items()}
    with pool_server(WORKERS, EPOCH_S) as server:
        pool, pool_alone = _play_all(server, server.worker_pids)
        light_call_s, session_kb = asyncio.run(_light(server))
    with ray_nodes(1, WORKERS) as cluster, ray_server(cluster, WORKERS, EPOCH_S) as server:
        ray, ray_alone = _play_all(server, lambda: [pid for node in cluster.nodes for pid in node.pids])
    runs = [*pool, *ray]
    call_s, unit_s = _fit([(1.0, run.epochs) for run in runs], [run.per_call("MainThread", "asyncio") for run in runs])
    state_s, state_s_per_mb = _fit([(1.0, run.state_mb) for run in runs], [run.per_call("states") for run in runs])
    held_share = min(1.0, _packing_s_per_mb() / state_s_per_mb)
    client_s = statistics.mean(run.measured.client_s / run.measured.calls for run in runs)
    server_constants = ServerConstants(
        call_s, unit_s, state_s, state_s_per_mb, held_share, _wake_s(), light_call_s, session_kb
    )
    executors = {"pool": _executor(pool), "ray": _executor(ray)}
    constants = Constants(circumstances(), server_constants, journals, executors, client_s)
    for name, alone in (("pool", pool_alone), ("ray", ray_alone)):
        executors[name] = replace(executors[name], transport_s=_transport_s(constants, name, alone))
    return constants


def _play_all(server: WaitingServer, workers: Callable[[], Sequence[int]]) -> tuple[list[_Run], Measured]:
    """Play all shapes, and a session alone."""
    server.wait_for_workers(WORKERS)
    runs = []
    alone = asyncio.run(play(server, ALONE, workers(), 500))
    for number, (task, epochs) in enumerate(SHAPES, 1):
        measured = asyncio.run(play(server, Workload(task, SESSIONS, epochs, 0.0), workers(), 1_000 * number))
        runs.append(_Run(task.state_mb, epochs, measured))
    return runs, alone


def _executor(runs: Sequence[_Run]) -> ExecutorConstants:
    """Constants of an executor, whose results and jobs have a state each. The time of transport is not known yet."""
    shapes = [(run.epochs, run.epochs * run.state_mb) for run in runs]
    receive_s, receive_s_per_mb = _fit(shapes, [run.per_call("worker") for run in runs])
    worker_s, worker_s_per_mb = _fit(shapes, [run.measured.worker_s / run.measured.calls for run in runs])
    native_s = statistics.mean(max(0.0, run.per_call("native")) / run.epochs for run in runs)
    return ExecutorConstants(receive_s, receive_s_per_mb / 2, native_s, worker_s, worker_s_per_mb, 0.0)


def _fit(shapes: Sequence[tuple[float, float]], seconds: Sequence[float]) -> tuple[float, float]:
    """Coefficients of two figures, not negative, with the least squares of relative errors."""
    relative = np.asarray(shapes) / np.asarray(seconds)[:, None]
    (one, other), *_ = np.linalg.lstsq(relative, np.ones(len(seconds)), rcond=None)
    if one < 0 or other < 0:  # then one of them explains all
        alone = [float(column.sum() / (column @ column)) for column in relative.T]
        return (0.0, alone[1]) if one < 0 else (alone[0], 0.0)
    return float(one), float(other)


def _transport_s(constants: Constants, executor: str, alone: Measured) -> float:
    """What a call of a session alone takes longer than the model says, in which transport takes no time."""
    task = Task(EASY.name, EPOCH_S, EASY.state_mb)
    deployment = Deployment(WORKERS, 1, executor, cores=CORES, network_mb_per_s=None, round_trip_s=0.0)
    predicted = simulate(constants, deployment, Workload(task, 1, 1, 0.0), seconds=20.0)
    return max(0.0, statistics.median(alone.latencies_s) - predicted.latency_s)


async def _light(server: WaitingServer) -> tuple[float, float]:
    """Processor time of a call that only reads, in seconds, and memory of a session, in kB."""
    before = usage(server.pid)
    sessions = [await SocketSession.open(server.url) for _ in range(LIGHT_SESSIONS)]
    for session in sessions:
        await session.reset(task_id=EASY.name)
    after, calls, ends_at = usage(server.pid), 0, time.perf_counter() + LIGHT_S
    used = sum(server.thread_times().values())

    async def look_on(session: SocketSession) -> None:
        nonlocal calls
        while time.perf_counter() < ends_at:
            await session.call("get_training_status")
            calls += 1

    await asyncio.gather(*map(look_on, sessions[:8]))
    light_call_s = (sum(server.thread_times().values()) - used) / calls
    for session in sessions:
        await session.close()
    assert before is not None
    assert after is not None
    return light_call_s, (after.rss_kb - before.rss_kb) / LIGHT_SESSIONS


def _packing_s_per_mb() -> float:
    """Processor time of packing a megabyte of a state, which holds the interpreter lock, in seconds."""
    state = State({f"w{number}": np.zeros(125_000, np.float32) for number in range(10)}, {})
    times = []
    for _ in range(30):
        began = time.thread_time()
        pack_state(state)
        times.append(time.thread_time() - began)
    return statistics.median(times) / (state.nbytes / 1e6)


def _wake_s(supervisors: int = 64, rounds: int = 200) -> float:
    """Processor time of waking one supervisor that waits for its worker, in seconds."""
    queue = JobQueue()
    with _polling(queue, supervisors):
        began = time.process_time()
        for _ in range(rounds):
            queue._wake_workers()
            time.sleep(0.002)
        used = time.process_time() - began
    began = time.process_time()
    for _ in range(rounds):
        time.sleep(0.002)
    return (used - (time.process_time() - began)) / rounds / supervisors


@contextmanager
def _polling(queue: JobQueue, supervisors: int) -> Iterator[None]:
    """Threads that wait as those of supervisors do."""
    over = threading.Event()

    def wait() -> None:
        with Wakeup() as wakeup:
            poll = select.poll()
            poll.register(wakeup.fileno(), select.POLLIN)
            queue.wakeups.append(wakeup.set)
            while not over.is_set():
                poll.poll()
                wakeup.clear()

    threads = [threading.Thread(target=wait) for _ in range(supervisors)]
    for thread in threads:
        thread.start()
    while len(queue.wakeups) < supervisors:
        time.sleep(0.01)
    yield
    over.set()
    queue._wake_workers()
    for thread in threads:
        thread.join()
