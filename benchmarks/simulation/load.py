"""Sessions that call a real server in a closed loop: think, call, wait for the reply, think."""

import asyncio
import os
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from serving.clients import SocketSession

from simulation.deployment import Workload
from simulation.waiting_server import WaitingServer

__all__ = ["Measured", "play"]

OPENED_TOGETHER = 10
CALLS = {1: 40, 5: 10}
"""Calls of a session, by the epochs of a call: with the first epoch within the budgets of all tasks."""


@dataclass(frozen=True)
class Measured:
    """What was measured while all sessions played: from the common start until the first one had no calls left.

    Attributes:
        seconds: Length of the measurement.
        latencies_s: Duration of each call that ended in it, in seconds.
        epochs: Epochs of these calls.
        threads_s: Processor time of the server's threads, by name, in seconds.
        worker_s: Processor time of the workers, and of all that carries their messages, in seconds.
        client_s: Processor time of the clients' process, in seconds.
    """

    seconds: float
    latencies_s: list[float]
    epochs: int
    threads_s: dict[str, float]
    worker_s: float
    client_s: float

    @property
    def calls(self) -> int:
        """Number of calls."""
        return len(self.latencies_s)


async def play(server: WaitingServer, workload: Workload, workers: Sequence[int], first_seed: int) -> Measured:
    """Play a workload.

    Args:
        server: The server.
        workload: The workload. Its `epoch_s` does not count: the server has its own.
        workers: Process ids of the workers, and of all that carries their messages.
        first_seed: Seed of the first session's episode. Each has another one.
    """
    turns = asyncio.Semaphore(OPENED_TOGETHER)

    async def open_one(number: int) -> SocketSession:
        async with turns:
            session = await SocketSession.open(server.url)
            await session.reset(task_id=workload.task.name, seed=first_seed + number)
            await session.call("run_epochs", num_epochs=1)
            return session

    sessions = await asyncio.gather(*map(open_one, range(workload.sessions)))
    latencies: list[float] = []
    finished = asyncio.Event()

    async def play_one(number: int, session: SocketSession) -> None:
        chance = random.Random(number)
        try:
            for _ in range(CALLS[workload.epochs]):
                if workload.think_s:
                    await asyncio.sleep(chance.expovariate(1 / workload.think_s))
                began = time.perf_counter()
                await session.call("run_epochs", num_epochs=workload.epochs)
                latencies.append(time.perf_counter() - began)
        finally:
            finished.set()  # also where a call was refused, which is raised below

    threads, used, began = server.thread_times(), _used_s(workers), time.perf_counter()
    playing = [asyncio.create_task(play_one(*numbered)) for numbered in enumerate(sessions)]
    await finished.wait()
    seconds, counted = time.perf_counter() - began, list(latencies)
    worker_s, client_s = (now - before for now, before in zip(_used_s(workers), used, strict=True))
    threads_s = {name: now - threads.get(name, 0.0) for name, now in server.thread_times().items()}
    await asyncio.gather(*playing)
    await asyncio.gather(*(session.close() for session in sessions))
    return Measured(seconds, counted, len(counted) * workload.epochs, threads_s, worker_s, client_s)


def _used_s(workers: Sequence[int]) -> tuple[float, float]:
    return sum(map(_cpu_s, workers)), time.process_time()


def _cpu_s(pid: int) -> float:
    """Processor time of a process, in seconds. 0 if it has ended."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0
