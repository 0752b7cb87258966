"""Jobs of the background wait behind all others and make nobody yield."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_trainer_env.server.executors import job_queue
from ml_trainer_env.server.executors.background import BackgroundExecutor
from ml_trainer_env.server.executors.contract import Executor, ExecutorError, wait_quietly
from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.executors.job import Job
from ml_trainer_env.server.executors.job_queue import JobQueue, QueuedJob
from ml_trainer_env.server.trainer.arrays import State

Run = Callable[[Awaitable[Any]], Any]
Until = Callable[[Callable[[], bool]], Awaitable[None]]
LIMIT_S = 120.0

moves = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.booleans()),
        st.tuples(st.sampled_from(["take", "finish", "fail", "put back"]), st.integers(0, 5)),
        st.tuples(st.just("cancel"), st.integers(0, 9)),
        st.tuples(st.sampled_from(["fail waiting", "close"]), st.just(0)),
    ),
    max_size=40,
)


class Model:
    """A queue as two plain lists."""

    def __init__(self) -> None:
        self.waiting: dict[bool, list[QueuedJob]] = {False: [], True: []}
        self.taken: list[QueuedJob] = []
        self.cancelled: set[int] = set()
        self.is_closed = False

    @property
    def order(self) -> list[QueuedJob]:
        return self.waiting[False] + self.waiting[True]

    def remove(self, queued: QueuedJob) -> None:
        for those in self.waiting.values():
            if queued in those:
                those.remove(queued)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=moves)
def test_a_queue_is_two_lists_of_which_the_second_waits_for_the_first(
    job: Job, monkeypatch: pytest.MonkeyPatch, made: list[tuple[str, Any]]
) -> None:
    monkeypatch.setattr(job_queue, "POSITION_INTERVAL_S", 0.0)  # positions are counted each time
    queue, model = JobQueue(), Model()
    for move, value in made:
        _make(queue, model, job, move, value)

        assert list(queue._jobs) == model.order
        assert (queue.waiting, queue.busy) == (len(model.order), len(model.taken))
        assert queue.is_crowded == bool(model.waiting[False])  # nobody waits for a job
        for number, queued in enumerate(model.order, 1):
            assert queue._position(queued) == number
    for expected in model.order:
        assert queue.take(timeout_s=0) is expected
    assert queue.take(timeout_s=0) is None
    assert not queue.is_crowded


def _make(queue: JobQueue, model: Model, job: Job, move: str, value: Any) -> None:
    if move == "put":
        if model.is_closed:
            with pytest.raises(ExecutorError, match="closed"):
                queue.put(replace(job, is_background=value), LIMIT_S)
        else:
            model.waiting[value].append(queue.put(replace(job, is_background=value), LIMIT_S))
    elif move == "take":
        taken = queue.take(timeout_s=0)
        assert taken is next(iter(model.order), None)
        if taken is not None:
            model.remove(taken)
            model.taken.append(taken)
    elif move in {"finish", "fail", "put back"} and model.taken:
        queued = model.taken.pop(value % len(model.taken))
        if move == "put back":
            queue.put_back(queued)
            if not model.is_closed and not queued.cancelled.is_set():
                model.waiting[queued.job.is_background].insert(0, queued)
        else:
            queue.finish(queued) if move == "finish" else queue.fail(queued, ExecutorError("no"))
            assert queued.is_over
    elif move == "cancel" and (known := model.order + model.taken):
        queued = known[value % len(known)]
        queue._cancel(queued)
        model.remove(queued)
    elif move == "fail waiting" or move == "close":
        failed = model.order
        queue.close() if move == "close" else queue.fail_waiting(ExecutorError("no"))
        model.is_closed |= move == "close"
        model.waiting = {False: [], True: []}
        assert all(queued.is_over and queued.error is not None for queued in failed)


def test_a_job_of_the_background_does_not_crowd_the_queue_and_others_do(job: Job) -> None:
    queue = JobQueue()
    queue.put(replace(job, is_background=True), LIMIT_S)
    assert not queue.is_crowded

    queue.put(job, LIMIT_S)

    assert queue.is_crowded


def test_the_wait_for_a_job_of_the_background_can_be_cancelled(run: Run, job: Job) -> None:
    queue = JobQueue()

    async def cancel() -> None:
        waits = []
        for is_background in (True, False):
            queued = queue.put(replace(job, is_background=is_background), LIMIT_S)
            waits.append(asyncio.ensure_future(queue.wait_for(queued, wait_quietly)))
        await asyncio.sleep(0)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    run(cancel())

    assert (queue.waiting, queue.is_crowded) == (0, False)


@pytest.mark.parametrize("in_front", [True, False])
def test_work_of_the_background_stops_after_its_running_unit_for_others_alone(
    run: Run, until: Until, in_front: bool
) -> None:
    from toy_jobs import Gate, Steps

    gate, done = Gate(), list[str]()
    start = State({}, {"start": "0"})
    two = Job("toy_jobs:count_behind_a_gate", "toy_jobs:prepare", start, gate, Steps("1"), units=2)
    one = Job("toy_jobs:count", "toy_jobs:prepare", start, 99, Steps("1"))

    async def race() -> tuple[int, list[str]]:
        executor = InProcessExecutor(1, probe="toy_jobs:probe")
        background = BackgroundExecutor(executor)

        async def work(name: str, on: Executor, job: Job) -> Any:
            return await on.run(job, LIMIT_S, on_unit=lambda _: done.append(name))

        try:
            long = asyncio.ensure_future(work("long, behind", background, two))
            await until(gate.begun.is_set)
            others = [asyncio.ensure_future(work("behind", background, one))]
            if in_front:
                others.append(asyncio.ensure_future(work("in front", executor, one)))
            await until(lambda: background.waiting == 1 + in_front)
            assert (background.busy, background.ready, background.trouble) == (1, True, None)
            gate.opens.set()
            units = await long
            await asyncio.gather(*others)
            await background.close()
            assert executor.ready
            return len(units), done
        finally:
            gate.opens.set()
            await executor.close()

    expected = ["long, behind", "in front", "behind"] if in_front else ["long, behind", "long, behind", "behind"]
    assert run(race()) == (expected.count("long, behind"), expected)
