"""What only worker processes can do: die, be killed, be replaced, and end with their parent."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ml_trainer_env.server.executors import conversation, supervisor, worker_process
from ml_trainer_env.server.executors.contract import Executor, ExecutorError, wait_quietly
from ml_trainer_env.server.executors.job import Job, UnitResult
from ml_trainer_env.server.executors.pool import ProcessPoolExecutor
from ml_trainer_env.server.trainer import PROBE

Run = Callable[[Awaitable[Any]], Any]
Until = Callable[[Callable[[], bool]], Awaitable[None]]
LIMIT_S = 120.0


async def first_unit(executor: Executor, job: Job, timeout_s: float, *rest: Any) -> UnitResult:
    return (await executor.run(job, timeout_s, *rest))[0]


PARENT = """
import asyncio, sys
from ml_trainer_env.server.executors.pool import ProcessPoolExecutor
from ml_trainer_env.server.trainer import PROBE

async def main():
    pool = ProcessPoolExecutor(workers=2, torch_threads=1, probe=PROBE)
    await pool.start()
    while len(pool.worker_pids) < 2:
        await asyncio.sleep(0.05)
    print(*pool.worker_pids, flush=True)
    await asyncio.sleep(300)

asyncio.run(main())
"""


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_a_worker_killed_in_an_epoch_costs_nothing_but_time(
    run: Run, pool: ProcessPoolExecutor, long_job: Job, until: Until
) -> None:
    async def kill_while_it_trains() -> UnitResult:
        training = asyncio.create_task(first_unit(pool, long_job, LIMIT_S))
        await until(lambda: pool.busy == 1 or training.done())
        os.kill(before, signal.SIGKILL)
        await until(lambda: pool.worker_deaths == deaths + 1)
        return await training

    undisturbed = run(first_unit(pool, long_job, LIMIT_S))
    (before,), deaths = pool.worker_pids, pool.worker_deaths
    disturbed = run(kill_while_it_trains())

    assert disturbed.digest == undisturbed.digest
    assert disturbed.figures == undisturbed.figures
    assert pool.worker_pids != [before]


@pytest.mark.slow
def test_a_killed_worker_costs_no_unit_that_it_had_delivered(run: Run, pool: ProcessPoolExecutor, job: Job) -> None:
    delivered: list[UnitResult] = []

    def kill_after_two(result: UnitResult) -> None:
        delivered.append(result)
        if len(delivered) == 2:
            os.kill(pool.worker_pids[0], signal.SIGKILL)

    straight, deaths = run(pool.run(replace(job, units=40), LIMIT_S)), pool.worker_deaths
    results = run(pool.run(replace(job, units=40), LIMIT_S, wait_quietly, kill_after_two))

    assert pool.worker_deaths == deaths + 1
    assert [result.digest for result in results] == [result.digest for result in straight]
    assert tuple(delivered) == results


@pytest.mark.slow
def test_a_job_of_which_three_workers_died_fails(
    run: Run, pool: ProcessPoolExecutor, job: Job, lasting_job: Job, until: Until
) -> None:
    async def kill_three() -> UnitResult:
        deaths = pool.worker_deaths
        training = asyncio.create_task(first_unit(pool, lasting_job, LIMIT_S))
        for killed in range(3):
            await until(lambda: pool.worker_pids and pool.busy == 1 and pool.worker_deaths == deaths + killed)  # noqa: B023 - awaited here
            os.kill(pool.worker_pids[0], signal.SIGKILL)
        return await training

    with pytest.raises(ExecutorError, match=r"3 workers in a row died .* \(SIGKILL\)"):
        run(kill_three())

    assert run(first_unit(pool, job, LIMIT_S)).state.facts["epoch"] == "1"


@pytest.mark.slow
def test_a_worker_that_died_while_idle_is_replaced_before_it_is_needed(
    run: Run, pool: ProcessPoolExecutor, job: Job, until: Until
) -> None:
    async def kill_the_idle_one() -> None:
        os.kill(pool.worker_pids[0], signal.SIGKILL)
        await until(lambda: pool.worker_deaths == deaths + 1 and pool.ready)

    run(first_unit(pool, job, LIMIT_S))
    deaths = pool.worker_deaths
    run(kill_the_idle_one())

    assert run(first_unit(pool, job, LIMIT_S)).state.facts["epoch"] == "1"
    assert pool.worker_deaths == deaths + 1


@pytest.mark.slow
def test_a_worker_that_hangs_in_an_epoch_is_killed_and_replaced(
    run: Run, pool: ProcessPoolExecutor, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "STOP_TIMEOUT_S", 0.1)
    run(first_unit(pool, job, LIMIT_S))
    (frozen,), deaths = pool.worker_pids, pool.worker_deaths
    os.kill(frozen, signal.SIGSTOP)

    with pytest.raises(ExecutorError, match=r"took longer than 0\.1 s"):
        run(first_unit(pool, job, 0.1))

    assert run(first_unit(pool, job, LIMIT_S)).state.facts["epoch"] == "1"
    assert not is_running(frozen)
    assert pool.worker_deaths == deaths + 1


@pytest.mark.slow
@pytest.mark.long
def test_a_worker_that_leaves_its_request_unread_is_replaced(
    run: Run, job: Job, long_job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "STUCK_S", 2.0)

    async def freeze_before_a_large_request() -> UnitResult:
        pool = ProcessPoolExecutor(workers=1, torch_threads=1, probe=PROBE)
        try:
            await first_unit(pool, job, LIMIT_S)
            os.kill(pool.worker_pids[0], signal.SIGSTOP)
            return await first_unit(pool, long_job, LIMIT_S)
        finally:
            await pool.close()

    assert run(freeze_before_a_large_request()).state.facts["epoch"] == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces the limit")
@pytest.mark.slow
def test_a_job_that_needs_too_much_memory_fails_with_the_limit_in_words(run: Run, job: Job) -> None:
    images, labels = np.zeros((300_000, 28, 28), np.uint8), np.zeros(300_000, np.int64)
    large = replace(job, data=replace(job.data, key="large", train_inputs=images, train_labels=labels))

    async def ask_too_much() -> tuple[UnitResult, int]:
        pool = ProcessPoolExecutor(workers=1, torch_threads=1, memory_mb=2500, probe=PROBE)
        try:
            with pytest.raises(ExecutorError, match="an epoch needed more memory than the worker's limit of 2500 MB"):
                await first_unit(pool, large, LIMIT_S)
            return await first_unit(pool, job, LIMIT_S), pool.worker_deaths
        finally:
            await pool.close()

    result, deaths = run(ask_too_much())

    assert result.state.facts["epoch"] == "1"
    assert deaths == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces the limit")
@pytest.mark.slow
@pytest.mark.long
def test_jobs_fail_when_no_worker_can_be_started(run: Run, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "PAUSE_S", 0.01)

    async def start_in_vain() -> int:
        pool = ProcessPoolExecutor(workers=1, torch_threads=1, memory_mb=64, probe=PROBE)
        try:
            for _ in range(2):
                with pytest.raises(ExecutorError, match=r"no worker can be started.* 64 MB"):
                    await first_unit(pool, job, LIMIT_S)
            assert not pool.ready
            return pool.worker_deaths
        finally:
            await pool.close()

    assert run(start_in_vain()) >= 4


@pytest.mark.slow
def test_closing_ends_the_workers_and_fails_what_is_under_way(run: Run, lasting_job: Job, until: Until) -> None:
    async def close_while_it_trains() -> list[int]:
        pool = ProcessPoolExecutor(workers=1, torch_threads=1, probe=PROBE)
        jobs = [asyncio.create_task(first_unit(pool, lasting_job, LIMIT_S)) for _ in range(2)]
        await until(lambda: pool.busy == 1)
        pids = pool.worker_pids
        await pool.close()
        for job in jobs:
            with pytest.raises(ExecutorError):
                await job
        return pids

    pids = run(close_while_it_trains())

    assert len(pids) == 1
    assert not any(map(is_running, pids))


def test_closing_while_workers_warm_up_ends_them(run: Run, until: Until) -> None:
    async def close_at_once() -> list[int]:
        pool = ProcessPoolExecutor(workers=2, torch_threads=1, probe=PROBE)
        await pool.start()
        await until(lambda: len(pool.worker_pids) == 2)
        pids = pool.worker_pids
        await pool.close()
        return pids

    assert not any(map(is_running, run(close_at_once())))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent_however_it_ends(how: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.send_signal(how)
        parent.wait()

    while any(map(is_running, pids)):  # they may still be importing torch, which takes long on a busy machine
        time.sleep(0.05)


def test_jobs_of_many_callers_take_turns_epoch_by_epoch(run: Run, pool: ProcessPoolExecutor, job: Job) -> None:
    finished: list[str] = []

    async def caller(name: str) -> None:
        for _ in range(3):
            await first_unit(pool, job, LIMIT_S)
            finished.append(name)

    async def everyone() -> None:
        await asyncio.gather(*(caller(name) for name in "abc"))

    run(everyone())

    assert finished == list("abc") * 3
