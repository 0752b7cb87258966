"""The contract of an executor: every implementation passes every test here."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from ml_trainer_env.server.executors.contract import EpochJob, EpochResult, Executor, ExecutorError, HeldOutJob
from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.executors.pool import ProcessPoolExecutor
from ml_trainer_env.server.trainer.kinds import NetworkName
from ml_trainer_env.server.trainer.state import FreshState, weights_hash

Run = Callable[[Awaitable[Any]], Any]
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
    assert 0 <= result.metrics.val_accuracy <= 1


def test_the_same_job_gives_the_same_bits_again(run: Run, executor: Executor, job: EpochJob) -> None:
    results = [run(train(executor, job, 2)) for _ in range(2)]

    assert weights_hash(results[0].state) == weights_hash(results[1].state)
    assert results[0].metrics == results[1].metrics


def test_a_second_training_beside_it_changes_no_bit(run: Run, executor: Executor, job: EpochJob) -> None:
    async def both() -> tuple[EpochResult, EpochResult]:
        other = replace(job, state=FreshState(NetworkName.SIMPLE_MLP, seed=9))
        return await asyncio.gather(train(executor, job, 3), train(executor, other, 3))

    alone = run(train(executor, job, 3))
    together, other = run(both())

    assert weights_hash(together.state) == weights_hash(alone.state)
    assert weights_hash(other.state) != weights_hash(alone.state)


def test_held_out_accuracy_is_a_share(run: Run, executor: Executor, job: EpochJob) -> None:
    state = run(executor.run_epoch(job, LIMIT_S)).state

    assert 0.0 <= run(executor.held_out_accuracy(HeldOutJob(state, job.data), LIMIT_S)) <= 1.0


def test_an_epoch_over_its_time_fails_and_the_next_one_runs(
    run: Run, executor: Executor, long_job: EpochJob, job: EpochJob
) -> None:
    with pytest.raises(ExecutorError, match=r"took longer than 0\.01 s"):
        run(executor.run_epoch(long_job, 0.01))

    assert run(executor.run_epoch(job, LIMIT_S)).state.epoch == 1


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


def test_every_executor_gives_the_same_bits(
    run: Run, in_process: InProcessExecutor, pool: ProcessPoolExecutor, job: EpochJob
) -> None:
    here, there = (run(train(executor, job, 3)) for executor in (in_process, pool))

    assert weights_hash(here.state) == weights_hash(there.state)
    assert here.metrics == there.metrics


@pytest.mark.parametrize("network", [NetworkName.SMALL_CNN, NetworkName.DEEPER_CNN])
def test_two_worker_processes_give_the_same_bits(
    run: Run, network: NetworkName, network_jobs: dict[NetworkName, EpochJob]
) -> None:
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
