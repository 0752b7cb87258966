"""The contract of an executor: every implementation passes every test here."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from ml_trainer_env.server.executors import tickets
from ml_trainer_env.server.executors.contract import EpochJob, EpochResult, Executor, ExecutorError, HeldOutJob
from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.executors.pool import ProcessPoolExecutor
from ml_trainer_env.server.trainer.config import TrainingConfig
from ml_trainer_env.server.trainer.state import FreshState, weights_hash

Run = Callable[[Awaitable[Any]], Any]
Until = Callable[[Callable[[], bool]], Awaitable[None]]
LIMIT_S = 120.0


async def train(executor: Executor, job: EpochJob, epochs: int) -> EpochResult:
    for _ in range(epochs):
        result = await executor.run_epoch(job, LIMIT_S)
        job = replace(job, state=result.state)
    return result


def test_an_epoch_comes_back_as_the_next_state_with_its_figures(run: Run, executor: Executor, job: EpochJob) -> None:
    result = run(executor.run_epoch(job, LIMIT_S))

    assert result.state.epoch == 1
    assert result.seconds > 0
    assert result.weights_hash == weights_hash(result.state)
    assert 0 <= result.metrics.val_accuracy <= 1


def test_the_same_job_gives_the_same_bits_again(run: Run, executor: Executor, job: EpochJob) -> None:
    results = [run(train(executor, job, 2)) for _ in range(2)]

    assert weights_hash(results[0].state) == weights_hash(results[1].state)
    assert results[0].metrics == results[1].metrics


def test_a_second_training_beside_it_changes_no_bit(run: Run, executor: Executor, job: EpochJob) -> None:
    async def both() -> tuple[EpochResult, EpochResult]:
        other = replace(job, state=FreshState("simple_mlp", seed=9))
        return await asyncio.gather(train(executor, job, 3), train(executor, other, 3))

    alone = run(train(executor, job, 3))
    together, other = run(both())

    assert weights_hash(together.state) == weights_hash(alone.state)
    assert weights_hash(other.state) != weights_hash(alone.state)


def test_held_out_accuracy_is_a_share(run: Run, executor: Executor, job: EpochJob) -> None:
    state = run(executor.run_epoch(job, LIMIT_S)).state

    assert 0.0 <= run(executor.held_out_accuracy(HeldOutJob(state, job.data), LIMIT_S)) <= 1.0


def test_training_goes_on_from_an_earlier_state_as_it_did_before(run: Run, executor: Executor, job: EpochJob) -> None:
    first = run(executor.run_epoch(job, LIMIT_S))
    second = run(executor.run_epoch(replace(job, state=first.state), LIMIT_S))
    run(executor.run_epoch(replace(job, state=second.state), LIMIT_S))

    again = run(executor.run_epoch(replace(job, state=first.state), LIMIT_S))

    assert again.weights_hash == second.weights_hash


def test_an_epoch_over_its_time_is_stopped_and_the_worker_lives_on(
    run: Run, executor: Executor, lasting_job: EpochJob, job: EpochJob
) -> None:
    deaths = executor.worker_deaths

    with pytest.raises(ExecutorError, match=r"took longer than 0\.01 s"):
        run(executor.run_epoch(lasting_job, 0.01))

    assert run(executor.run_epoch(job, LIMIT_S)).state.epoch == 1
    assert executor.worker_deaths == deaths


def test_a_job_under_way_that_is_cancelled_makes_room_and_the_worker_lives_on(
    run: Run, executor: Executor, lasting_job: EpochJob, job: EpochJob, until: Until
) -> None:
    async def cancel_while_it_trains() -> EpochResult:
        training = asyncio.create_task(executor.run_epoch(lasting_job, LIMIT_S))
        await until(lambda: executor.busy == 1)
        training.cancel()
        with pytest.raises(asyncio.CancelledError):
            await training
        return await executor.run_epoch(job, LIMIT_S)

    undisturbed, deaths = run(executor.run_epoch(job, LIMIT_S)), executor.worker_deaths

    assert run(cancel_while_it_trains()).weights_hash == undisturbed.weights_hash
    assert executor.worker_deaths == deaths


def test_a_timeout_around_the_call_cancels_the_job(
    run: Run, executor: Executor, lasting_job: EpochJob, until: Until
) -> None:
    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await executor.run_epoch(lasting_job, LIMIT_S)
        await until(lambda: executor.busy == 0)

    deaths = executor.worker_deaths
    run(give_up())

    assert executor.waiting == 0
    assert executor.worker_deaths == deaths


def test_a_cancelled_job_leaves_the_queue(
    run: Run, executor: Executor, job: EpochJob, lasting_job: EpochJob, until: Until
) -> None:
    async def cancel_the_second() -> None:
        first, second, third = (asyncio.create_task(executor.run_epoch(lasting_job, LIMIT_S)) for _ in range(3))
        await until(lambda: executor.busy == 1 and executor.waiting == 2)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert executor.waiting == 1
        for training in (first, third):
            training.cancel()
        await until(lambda: executor.busy == 0)

    run(cancel_the_second())

    assert run(executor.run_epoch(job, LIMIT_S)).state.epoch == 1


def test_a_job_that_waits_hears_its_place(
    run: Run, executor: Executor, lasting_job: EpochJob, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tickets, "TELL_PLACE_EVERY_S", 0.001)
    heard: list[int] = []

    async def wait_behind_many() -> None:
        crowd = [asyncio.create_task(executor.run_epoch(lasting_job, LIMIT_S)) for _ in range(50)]
        await until(lambda: executor.busy == 1)
        last = asyncio.create_task(executor.run_epoch(lasting_job, LIMIT_S, heard.append))
        await until(lambda: bool(heard))
        for training in (*crowd, last):
            training.cancel()
        await asyncio.wait([*crowd, last])
        await until(lambda: executor.busy == 0)

    run(wait_behind_many())

    assert 1 <= heard[0] <= 50


def test_an_executor_tells_how_it_stands(run: Run, executor: Executor, job: EpochJob) -> None:
    run(executor.run_epoch(job, LIMIT_S))

    assert executor.ready
    assert (executor.waiting, executor.busy) == (0, 0)
    assert executor.worker_deaths >= 0


def test_a_job_that_raises_is_told_as_the_bug_it_is_and_the_next_one_runs(
    run: Run, executor: Executor, job: EpochJob
) -> None:
    with pytest.raises(Exception, match="no_such_network"):
        run(executor.run_epoch(replace(job, state=FreshState("no_such_network", 0)), LIMIT_S))

    assert run(executor.run_epoch(job, LIMIT_S)).state.epoch == 1


@pytest.mark.parametrize("make", [InProcessExecutor, ProcessPoolExecutor])
def test_a_closed_executor_refuses_work(run: Run, make: Callable[[], Executor], job: EpochJob) -> None:
    async def use_after_close() -> None:
        executor = make()
        await executor.start()
        await executor.close()
        await executor.run_epoch(job, LIMIT_S)

    with pytest.raises(ExecutorError, match="closed"):
        run(use_after_close())


@pytest.mark.parametrize("make", [InProcessExecutor, ProcessPoolExecutor])
def test_closing_fails_what_waits_and_what_is_under_way_and_leaves_no_thread(
    run: Run, make: Callable[[], Executor], lasting_job: EpochJob, until: Until
) -> None:
    async def close_while_it_trains() -> None:
        executor = make()
        cancelled, under_way, waiting = (
            asyncio.create_task(executor.run_epoch(lasting_job, LIMIT_S)) for _ in range(3)
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

    assert not {thread.name for thread in set(threading.enumerate()) - before} & {"trainer", "worker-keeper"}


def test_every_executor_gives_the_same_bits(
    run: Run, in_process: InProcessExecutor, pool: ProcessPoolExecutor, job: EpochJob
) -> None:
    here, there = (run(train(executor, job, 3)) for executor in (in_process, pool))

    assert weights_hash(here.state) == weights_hash(there.state)
    assert here.metrics == there.metrics


@pytest.mark.parametrize("network", ["small_cnn", "deeper_cnn", "batch_norm_mlp"])
def test_two_worker_processes_give_the_same_bits(run: Run, network: str, network_jobs: dict[str, EpochJob]) -> None:
    async def in_a_new_process() -> EpochResult:
        executor = ProcessPoolExecutor(workers=1, torch_threads=2)
        await executor.start()
        try:
            return await train(executor, network_jobs[network], 2)
        finally:
            await executor.close()

    async def at_once() -> tuple[EpochResult, EpochResult]:
        return await asyncio.gather(in_a_new_process(), in_a_new_process())

    one, other = run(at_once())

    assert weights_hash(one.state) == weights_hash(other.state)
    assert one.metrics == other.metrics


def test_held_out_images_are_measured_under_the_permutation_that_was_trained_on(
    run: Run, executor: Executor, network_jobs: dict[str, EpochJob]
) -> None:
    job = network_jobs["batch_norm_mlp"]
    learnt = replace(job.data, key="learnt", test_inputs=job.data.train_inputs, test_labels=job.data.train_labels)
    job = replace(job, data=learnt, config=TrainingConfig(batch_size=32))
    state = run(train(executor, job, 8)).state

    seen = run(executor.held_out_accuracy(HeldOutJob(state, learnt, job.permutation), LIMIT_S))
    unseen = run(executor.held_out_accuracy(HeldOutJob(state, learnt), LIMIT_S))

    assert seen > 0.5 > unseen
