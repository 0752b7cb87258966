"""What only worker processes can do: die, be killed, be replaced, and end with their parent."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ml_trainer_env.server.executors.contract import EpochJob, EpochResult, ExecutorError
from ml_trainer_env.server.executors.pool import ProcessPoolExecutor
from ml_trainer_env.server.trainer.state import weights_hash

Run = Callable[[Awaitable[Any]], Any]
LIMIT_S = 120.0
GONE_WITHIN_S = 30.0

PARENT = """
import asyncio, sys
from ml_trainer_env.server.executors.pool import ProcessPoolExecutor

async def main():
    pool = ProcessPoolExecutor(workers=2, torch_threads=1)
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


def test_a_worker_killed_in_an_epoch_fails_that_job_and_is_replaced(
    run: Run, pool: ProcessPoolExecutor, job: EpochJob, long_job: EpochJob
) -> None:
    undisturbed = run(pool.run_epoch(job, LIMIT_S))
    (before,) = pool.worker_pids

    async def kill_while_it_trains() -> EpochResult:
        training = asyncio.create_task(pool.run_epoch(long_job, LIMIT_S))
        await asyncio.sleep(0.3)
        os.kill(before, signal.SIGKILL)
        return await training

    with pytest.raises(ExecutorError, match="SIGKILL"):
        run(kill_while_it_trains())
    again = run(pool.run_epoch(job, LIMIT_S))

    assert pool.worker_pids != [before]
    assert weights_hash(again.state) == weights_hash(undisturbed.state)


def test_a_cancelled_job_in_the_queue_is_never_run(
    run: Run, pool: ProcessPoolExecutor, job: EpochJob, long_job: EpochJob
) -> None:
    async def cancel_one_of_two() -> EpochResult:
        first = asyncio.create_task(pool.run_epoch(long_job, LIMIT_S))
        second = asyncio.create_task(pool.run_epoch(long_job, LIMIT_S))
        await asyncio.sleep(0.2)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        await first
        return await pool.run_epoch(job, LIMIT_S)

    assert run(cancel_one_of_two()).state.epoch == 1


def test_closing_ends_the_workers_and_fails_what_is_under_way(run: Run, long_job: EpochJob) -> None:
    async def close_while_it_trains() -> list[int]:
        pool = ProcessPoolExecutor(workers=1, torch_threads=1)
        await pool.start()
        under_way = asyncio.create_task(pool.run_epoch(long_job, LIMIT_S))
        waiting = asyncio.create_task(pool.run_epoch(long_job, LIMIT_S))
        await asyncio.sleep(0.5)
        pids = pool.worker_pids
        await pool.close()
        for job in (under_way, waiting):
            with pytest.raises(ExecutorError):
                await job
        return pids

    pids = run(close_while_it_trains())

    assert pids
    assert not any(map(is_running, pids))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent_however_it_ends(how: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.send_signal(how)
        parent.wait()

    deadline = time.monotonic() + GONE_WITHIN_S
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, pids))


def test_jobs_of_many_callers_take_turns_epoch_by_epoch(run: Run, pool: ProcessPoolExecutor, job: EpochJob) -> None:
    finished: list[str] = []

    async def caller(name: str) -> None:
        for _ in range(3):
            await pool.run_epoch(job, LIMIT_S)
            finished.append(name)

    async def everyone() -> None:
        await asyncio.gather(*(caller(name) for name in "abc"))

    run(everyone())

    assert finished == list("abc") * 3
