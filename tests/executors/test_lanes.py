"""Workers of several identities serve one executor: each has a queue, and no job changes from one to another."""

import asyncio
import itertools
import re
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from ml_trainer_env.server.executors import supervisor
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.job import Job, UnitResult
from ml_trainer_env.server.executors.job_queue import JobQueue, QueuedJob
from ml_trainer_env.server.executors.lanes import Lanes
from ml_trainer_env.server.executors.supervised import SupervisedExecutor
from ml_trainer_env.server.executors.wakeup import Wakeup
from ml_trainer_env.server.executors.worker_contract import WorkerDiedError
from ml_trainer_env.server.trainer.arrays import State

Until = Callable[[Callable[[], bool]], Awaitable[None]]
LIMIT_S = 60.0


def identity(kind: str) -> Identity:
    return Identity({"kernels": kind})


def toy_job(units: int = 1) -> Job:
    return Job("toy:count", "toy:prepare", State({"value": np.array(0)}, {}), None, None, units, unit="step")  # type: ignore[arg-type]


class ToyWorker:
    """A worker of a kind, in the thread of its supervisor. A killed one dies of its next job."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.is_alive = True

    def wait_ready(self, on_wait: object) -> Identity:
        return identity(self.kind)

    def run(self, queued: QueuedJob, wakeup: Wakeup, is_crowded: Callable[[], bool]) -> None:
        if not self.is_alive:
            raise WorkerDiedError("it was killed")
        for left in reversed(range(queued.rest().units)):
            result = UnitResult(State({}, {}), {"kind": self.kind}, self.kind, 0.0, identity(self.kind).key)
            if left == 0 or is_crowded():
                queued.results.append(result)
                return
            queued.deliver(result)

    def kill(self) -> None:
        self.is_alive = False

    def close(self) -> None:
        self.kill()


class Machines:
    """Machines of some kinds, from which an executor takes its workers in turn."""

    def __init__(self, *kinds: str) -> None:
        self._kinds = itertools.cycle(kinds)
        self._taking = threading.Lock()
        self.workers: list[ToyWorker] = []

    def take(self) -> ToyWorker:
        with self._taking:
            self.workers.append(ToyWorker(next(self._kinds)))
            return self.workers[-1]

    def offer(self, *kinds: str) -> None:
        self._kinds = itertools.cycle(kinds)


@asynccontextmanager
async def mixed(machines: Machines, workers: int, until: Until) -> Any:
    executor = SupervisedExecutor(workers, machines.take, is_mixed=True)  # type: ignore[type-var]
    try:
        await executor.start()
        await until(lambda: sum(queue.workers for queue in executor._lanes) == workers)
        yield executor
    finally:
        await executor.close()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "PAUSE_S", 0.01)
    monkeypatch.setattr(supervisor, "IDLE_CHECK_INTERVAL_S", 0.02)


def test_a_lane_has_the_jobs_of_its_identity_alone(run: Any, until: Until) -> None:
    async def play() -> dict[str, set[str]]:
        found = {}
        async with mixed(Machines("a", "b"), 4, until) as executor:
            for kind in "ab":
                lane = await executor.lane(identity(kind).key)
                assert (await lane.identity(), lane.ready) == (identity(kind), True)
                results = await asyncio.gather(*(lane.run(toy_job(3), LIMIT_S) for _ in range(40)))
                found[kind] = {unit.identity for units in results for unit in units}
        return found

    assert run(play()) == {kind: {identity(kind).key} for kind in "ab"}


def test_new_episodes_are_shared_out_by_the_number_of_workers(run: Any, until: Until) -> None:
    async def play() -> Counter[str]:
        async with mixed(Machines("a", "b", "b"), 3, until) as executor:
            lanes = [await executor.lane() for _ in range(12)]
            assert len(set(lanes)) == 2
            return Counter([(await lane.identity()).facts["kernels"] for lane in lanes])

    assert run(play()) == {"a": 4, "b": 8}


def test_a_lane_that_joins_late_does_not_catch_up() -> None:
    first, late = JobQueue(), identity("b")
    lanes = Lanes(first, is_mixed=True)
    lanes.join(identity("a"))
    for _ in range(50):
        lanes.choose()
    joined = lanes.join(late)

    chosen = Counter(lanes.choose() for _ in range(10))

    assert chosen == {first: 5, joined: 5}


def test_an_identity_that_no_worker_has_had_gets_the_lane_of_a_new_episode(run: Any, until: Until) -> None:
    async def play() -> str:
        async with mixed(Machines("a"), 1, until) as executor:
            lane = await executor.lane(identity("elsewhere").key)
            return (await lane.identity()).facts["kernels"]

    assert run(play()) == "a"


def test_jobs_wait_for_their_identity_while_its_machines_are_gone(run: Any, until: Until) -> None:
    async def play() -> tuple[bool, set[str]]:
        machines = Machines("a", "b")
        async with mixed(machines, 2, until) as executor:
            lane = await executor.lane(identity("b").key)
            machines.offer("a")  # in place of a lost machine comes one of the other kind
            next(worker for worker in machines.workers if worker.kind == "b").kill()
            await until(lambda: not lane.ready)
            waiting = asyncio.create_task(lane.run(toy_job(), LIMIT_S))
            other = await executor.lane(identity("a").key)
            await asyncio.gather(*(other.run(toy_job(), LIMIT_S) for _ in range(10)))
            is_waiting = not waiting.done() and executor.waiting == 1
            machines.offer("b")
            next(worker for worker in machines.workers if worker.is_alive).kill()
            (result,) = await asyncio.wait_for(waiting, LIMIT_S)
            return is_waiting, {result.identity}

    assert run(play()) == (True, {identity("b").key})


def test_closing_ends_the_jobs_of_all_lanes(run: Any, until: Until) -> None:
    async def play() -> list[str]:
        machines = Machines("a", "b")
        async with mixed(machines, 2, until) as executor:
            lane = await executor.lane(identity("b").key)
            machines.offer("a")
            next(worker for worker in machines.workers if worker.kind == "b").kill()
            await until(lambda: not lane.ready)
            waiting = asyncio.create_task(lane.run(toy_job(), LIMIT_S))
            await asyncio.sleep(0)
        return [str(error) for error in await asyncio.gather(waiting, return_exceptions=True)]

    assert run(play()) == ["the executor is closed"]


def test_without_lanes_a_worker_of_another_identity_gets_no_job(run: Any, until: Until) -> None:
    async def play() -> str | None:
        executor = SupervisedExecutor(2, Machines("a", "b").take)  # type: ignore[type-var]
        try:
            await executor.start()
            await until(lambda: any(one.trouble for one in executor._supervisors))
            lane = await executor.lane(identity("b").key)
            assert lane is executor
            return next(one.trouble for one in executor._supervisors if one.trouble)
        finally:
            await executor.close()

    assert re.search("other results than the workers before it: kernels was (a, is b|b, is a)", str(run(play())))
