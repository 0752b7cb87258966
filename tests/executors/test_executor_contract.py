"""The contract of an executor: every implementation passes every test here."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ml_trainer_env.server.executors import conversation, job_queue
from ml_trainer_env.server.executors.contract import Executor, ExecutorError, wait_quietly
from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.executors.job import Job, UnitResult
from ml_trainer_env.server.executors.pool import ProcessPoolExecutor
from ml_trainer_env.server.trainer import PROBE
from ml_trainer_env.server.trainer.arrays import State
from ml_trainer_env.server.trainer.config import EpochSettings, TrainingConfig
from ml_trainer_env.server.trainer.examples import permuted
from ml_trainer_env.server.trainer.state import FreshState, TrainingState, weights_hash

Run = Callable[[Awaitable[Any]], Any]
Until = Callable[[Callable[[], bool]], Awaitable[None]]
LIMIT_S = 120.0


START = State({}, {"start": "0"})
"""Where the jobs of `toy_jobs` start."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker has minutes to stop, not seconds: on a busy machine it may not be given a processor for so long."""
    monkeypatch.setattr(conversation, "STOP_TIMEOUT_S", LIMIT_S)


async def first_unit(executor: Executor, job: Job, timeout_s: float, *rest: Any) -> UnitResult:
    return (await executor.run(job, timeout_s, *rest))[0]


async def train(executor: Executor, job: Job, epochs: int) -> UnitResult:
    """Train epoch by epoch, one job each."""
    for _ in range(epochs):
        result = await first_unit(executor, job, LIMIT_S)
        assert result.state is not None
        job = replace(job, state=result.state)
    return result


def test_an_epoch_comes_back_as_the_next_state_with_its_figures(run: Run, executor: Executor, job: Job) -> None:
    result = run(first_unit(executor, job, LIMIT_S))

    assert result.state.facts["epoch"] == "1"
    assert result.seconds > 0
    assert result.digest == weights_hash(TrainingState.from_state(result.state))
    assert 0 <= result.figures["val_accuracy"] <= 1


def test_the_same_job_gives_the_same_bits_again(run: Run, executor: Executor, job: Job) -> None:
    results = [run(train(executor, job, 2)) for _ in range(2)]

    assert results[0].digest == results[1].digest
    assert results[0].figures == results[1].figures


def test_a_second_training_beside_it_changes_no_bit(run: Run, executor: Executor, job: Job) -> None:
    async def both() -> tuple[UnitResult, UnitResult]:
        other = replace(job, state=FreshState("simple_mlp", seed=9).to_state())
        return await asyncio.gather(train(executor, job, 3), train(executor, other, 3))

    alone = run(train(executor, job, 3))
    together, other = run(both())

    assert together.digest == alone.digest
    assert other.digest != alone.digest


def measurement(job: Job, state: State | None) -> Job:
    assert state is not None
    return replace(job, function=job.function.replace("train_epoch", "measure_test_accuracy"), state=state)


def test_held_out_accuracy_is_a_share(run: Run, executor: Executor, job: Job) -> None:
    state = run(first_unit(executor, job, LIMIT_S)).state

    measured = run(first_unit(executor, measurement(job, state), LIMIT_S))

    assert 0.0 <= measured.figures["test_accuracy"] <= 1.0
    assert measured.state is None


def test_training_goes_on_from_an_earlier_state_as_it_did_before(run: Run, executor: Executor, job: Job) -> None:
    first = run(first_unit(executor, job, LIMIT_S))
    second = run(first_unit(executor, replace(job, state=first.state), LIMIT_S))
    run(first_unit(executor, replace(job, state=second.state), LIMIT_S))

    again = run(first_unit(executor, replace(job, state=first.state), LIMIT_S))

    assert again.digest == second.digest


def test_an_epoch_over_its_time_is_stopped_and_the_worker_lives_on(
    run: Run, executor: Executor, lasting_job: Job, job: Job
) -> None:
    deaths = executor.worker_deaths

    with pytest.raises(ExecutorError, match=r"took longer than 0\.01 s"):
        run(first_unit(executor, lasting_job, 0.01))

    assert run(first_unit(executor, job, LIMIT_S)).state.facts["epoch"] == "1"
    assert executor.worker_deaths == deaths


def test_a_job_under_way_that_is_cancelled_makes_room_and_the_worker_lives_on(
    run: Run, executor: Executor, lasting_job: Job, job: Job, until: Until
) -> None:
    async def cancel_while_it_trains() -> UnitResult:
        training = asyncio.create_task(first_unit(executor, lasting_job, LIMIT_S))
        await until(lambda: executor.busy == 1)
        training.cancel()
        with pytest.raises(asyncio.CancelledError):
            await training
        return await first_unit(executor, job, LIMIT_S)

    undisturbed, deaths = run(first_unit(executor, job, LIMIT_S)), executor.worker_deaths

    assert run(cancel_while_it_trains()).digest == undisturbed.digest
    assert executor.worker_deaths == deaths


def test_a_timeout_around_the_call_cancels_the_job(
    run: Run, executor: Executor, lasting_job: Job, until: Until
) -> None:
    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await first_unit(executor, lasting_job, LIMIT_S)
        await until(lambda: executor.busy == 0)

    deaths = executor.worker_deaths
    run(give_up())

    assert executor.waiting == 0
    assert executor.worker_deaths == deaths


def test_a_cancelled_job_leaves_the_queue(
    run: Run, executor: Executor, job: Job, lasting_job: Job, until: Until
) -> None:
    async def cancel_the_second() -> None:
        first, second, third = (asyncio.create_task(first_unit(executor, lasting_job, LIMIT_S)) for _ in range(3))
        await until(lambda: executor.busy == 1 and executor.waiting == 2)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert executor.waiting == 1
        for training in (first, third):
            training.cancel()
        await until(lambda: executor.busy == 0)

    run(cancel_the_second())

    assert run(first_unit(executor, job, LIMIT_S)).state.facts["epoch"] == "1"


def test_a_job_that_waits_hears_its_place(
    run: Run, executor: Executor, lasting_job: Job, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_queue, "POSITION_INTERVAL_S", 0.001)
    heard: list[int] = []

    async def wait_behind_many() -> None:
        crowd = [asyncio.create_task(first_unit(executor, lasting_job, LIMIT_S)) for _ in range(50)]
        await until(lambda: executor.busy == 1)
        last = asyncio.create_task(first_unit(executor, lasting_job, LIMIT_S, heard.append))
        await until(lambda: bool(heard))
        for training in (*crowd, last):
            training.cancel()
        await asyncio.wait([*crowd, last])
        await until(lambda: executor.busy == 0)

    run(wait_behind_many())

    assert 1 <= heard[0] <= 50


def test_an_executor_tells_how_it_stands(run: Run, executor: Executor, job: Job) -> None:
    run(first_unit(executor, job, LIMIT_S))

    assert executor.ready
    assert (executor.waiting, executor.busy) == (0, 0)
    assert executor.worker_deaths >= 0


def test_a_job_that_raises_is_told_as_the_bug_it_is_and_the_next_one_runs(
    run: Run, executor: Executor, job: Job
) -> None:
    with pytest.raises(Exception, match="no_such_network"):
        run(first_unit(executor, replace(job, state=FreshState("no_such_network", 0).to_state()), LIMIT_S))

    assert run(first_unit(executor, job, LIMIT_S)).state.facts["epoch"] == "1"


@pytest.fixture(params=["in_process", "pool", pytest.param("on_ray", marks=pytest.mark.ray)])
def make(request: pytest.FixtureRequest) -> Callable[..., Executor]:
    """Makes an executor of each kind, which the test closes."""
    if request.param == "on_ray":
        on_ray: Callable[..., Executor] = request.getfixturevalue("make_on_ray")
        return on_ray
    return {"in_process": InProcessExecutor, "pool": ProcessPoolExecutor}[request.param]


def test_a_closed_executor_refuses_work(run: Run, make: Callable[..., Executor], job: Job) -> None:
    async def use_after_close() -> None:
        executor = make(probe=PROBE)
        await executor.start()
        await executor.close()
        await first_unit(executor, job, LIMIT_S)

    with pytest.raises(ExecutorError, match="closed"):
        run(use_after_close())


@pytest.mark.slow
def test_closing_fails_what_waits_and_what_is_under_way_and_leaves_no_thread(
    run: Run, make: Callable[..., Executor], lasting_job: Job, until: Until
) -> None:
    async def close_while_it_trains() -> None:
        executor = make(probe=PROBE)
        cancelled, under_way, waiting = (
            asyncio.create_task(first_unit(executor, lasting_job, LIMIT_S)) for _ in range(3)
        )
        await until(lambda: executor.busy == 1)
        cancelled.cancel()
        await executor.close()
        for job in (under_way, waiting):
            with pytest.raises(ExecutorError):
                await job
        assert (executor.waiting, executor.busy, executor.worker_deaths) == (0, 0, 0)

    before = set(threading.enumerate())
    run(close_while_it_trains())

    assert not {thread.name for thread in set(threading.enumerate()) - before} & {"trainer", "worker-supervisor"}


def test_every_executor_gives_the_same_bits(
    run: Run, in_process: InProcessExecutor, pool: ProcessPoolExecutor, job: Job
) -> None:
    here, there = (run(train(executor, job, 3)) for executor in (in_process, pool))

    assert here.digest == there.digest
    assert here.figures == there.figures


@pytest.mark.slow
def test_two_worker_processes_give_the_same_bits(
    run: Run, pool: ProcessPoolExecutor, network_jobs: dict[str, Job]
) -> None:
    async def train_all(executor: Executor) -> list[UnitResult]:
        return [await train(executor, job, 2) for job in network_jobs.values()]

    async def in_a_new_process() -> list[UnitResult]:
        executor = ProcessPoolExecutor(workers=1, torch_threads=2, probe=PROBE)
        await executor.start()
        try:
            return await train_all(executor)
        finally:
            await executor.close()

    async def at_once() -> tuple[list[UnitResult], list[UnitResult]]:
        return await asyncio.gather(in_a_new_process(), train_all(pool))

    one, other = run(at_once())

    assert [result.digest for result in one] == [result.digest for result in other]
    assert [result.figures for result in one] == [result.figures for result in other]


def test_held_out_images_are_measured_under_the_permutation_that_was_trained_on(
    run: Run, executor: Executor, network_jobs: dict[str, Job]
) -> None:
    job = network_jobs["batch_norm_mlp"]
    images = job.data.base
    learnt = replace(images, key="learnt", test_inputs=images.train_inputs, test_labels=images.train_labels)
    settings = EpochSettings(TrainingConfig(batch_size=32), job.settings.plan)
    job = replace(job, data=permuted(learnt, job.data.permutation), settings=settings, units=8)
    state = run(executor.run(job, LIMIT_S))[-1].state

    seen = run(first_unit(executor, measurement(job, state), LIMIT_S))
    unseen = run(first_unit(executor, measurement(replace(job, data=learnt), state), LIMIT_S))

    assert seen.figures["test_accuracy"] > 0.5 > unseen.figures["test_accuracy"]


# Several units in one job.


@pytest.mark.parametrize("cuts", [(5,), (1, 1, 1, 1, 1), (2, 3)])
def test_how_a_run_is_cut_into_jobs_changes_no_bit(
    run: Run, executor: Executor, job: Job, cuts: tuple[int, ...]
) -> None:
    async def cut() -> list[UnitResult]:
        results: list[UnitResult] = []
        for units in cuts:
            results += await executor.run(replace(job.after(results), units=units), LIMIT_S)
        return results

    results, straight = run(cut()), run(executor.run(replace(job, units=5), LIMIT_S))

    assert [result.digest for result in results] == [result.digest for result in straight]
    assert [result.figures for result in results] == [result.figures for result in straight]


def test_each_unit_is_delivered_in_order_before_the_run_returns(run: Run, executor: Executor, job: Job) -> None:
    delivered: list[UnitResult] = []

    results = run(executor.run(replace(job, units=4), LIMIT_S, wait_quietly, delivered.append))

    assert tuple(delivered) == results
    assert [result.state.facts["epoch"] for result in results] == ["1", "2", "3", "4"]
    assert all(result.seconds > 0 for result in results)


def test_another_job_waits_for_one_unit_at_most(run: Run, executor: Executor, until: Until, tmp_path: Path) -> None:
    from toy_jobs import FileGate, Steps

    gate, order = tmp_path / "opens", list[str]()
    three = Job("toy_jobs:count_behind_a_file", "toy_jobs:prepare", START, FileGate(gate), Steps("1"), units=3)
    one = Job("toy_jobs:count", "toy_jobs:prepare", START, 99, Steps("1"))

    async def compete() -> tuple[UnitResult, ...]:
        running = asyncio.create_task(executor.run(three, LIMIT_S, wait_quietly, lambda _: order.append("unit")))
        await until(lambda: bool(order))  # the second unit waits at the gate
        other = asyncio.create_task(executor.run(one, LIMIT_S, wait_quietly, lambda _: order.append("other")))
        await until(lambda: executor.waiting == 1)
        gate.touch()
        await other
        return await running

    results = run(compete())

    assert len(results) == 2
    assert order == ["unit", "unit", "other"]


def test_a_cancelled_run_stops_at_its_next_batch_and_units_delivered_stay(
    run: Run, executor: Executor, job: Job, until: Until
) -> None:
    delivered: list[UnitResult] = []

    async def cancel_in_the_second_unit() -> None:
        running = asyncio.create_task(executor.run(replace(job, units=10_000), LIMIT_S, wait_quietly, delivered.append))
        await until(lambda: len(delivered) >= 2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await until(lambda: executor.busy == 0)

    deaths = executor.worker_deaths
    run(cancel_in_the_second_unit())
    straight = run(executor.run(replace(job, units=2), LIMIT_S))

    assert [result.digest for result in delivered[:2]] == [result.digest for result in straight]
    assert executor.worker_deaths == deaths


def test_a_unit_that_ends_the_run_is_the_last(run: Run, executor: Executor, job: Job) -> None:
    plan = replace(job.settings.plan, base_rate=1e6)
    wild = replace(job, settings=EpochSettings(TrainingConfig(optimizer="sgd"), plan), units=5)

    results = run(executor.run(wild, LIMIT_S))

    assert len(results) < 5
    assert [result.ends for result in results] == [False] * (len(results) - 1) + [True]


def test_a_listener_that_raises_cancels_the_rest(run: Run, executor: Executor, job: Job, until: Until) -> None:
    def refuse(_: UnitResult) -> None:
        raise ConnectionError("nobody listens")

    async def play() -> None:
        with pytest.raises(ConnectionError, match="nobody listens"):
            await executor.run(replace(job, units=10_000), LIMIT_S, wait_quietly, refuse)
        await until(lambda: executor.busy == 0)

    run(play())
