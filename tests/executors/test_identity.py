"""An identity tells results apart that may differ in their bits, and a queue serves one identity."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ml_trainer_env.server.executors import supervisor
from ml_trainer_env.server.executors.contract import Executor, ExecutorError
from ml_trainer_env.server.executors.identity import Identity, IdentityError
from ml_trainer_env.server.executors.job import Job, UnitResult
from ml_trainer_env.server.executors.job_queue import JobQueue
from ml_trainer_env.server.executors.pool import ProcessPoolExecutor
from ml_trainer_env.server.executors.versions import versions
from ml_trainer_env.server.trainer import PROBE

Run = Callable[[Awaitable[Any]], Any]
Until = Callable[[Callable[[], bool]], Awaitable[None]]
LIMIT_S = 120.0


async def first_unit(executor: Executor, job: Job, timeout_s: float, *rest: Any) -> UnitResult:
    return (await executor.run(job, timeout_s, *rest))[0]


FACTS = {"torch": "2", "torch_threads": "2", "probe": "abc", "processor": "one"}
OTHER_KERNELS = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
"""Any of them gives some processors other kernels, and no version changes."""


@pytest.mark.parametrize("fact", [*FACTS, "new"])
def test_every_fact_counts_but_the_name_of_the_processor(fact: str) -> None:
    other = Identity({**FACTS, fact: "else"})

    assert (other.key == Identity(FACTS).key) == (fact == "processor")
    assert Identity(dict(reversed(FACTS.items()))).key == Identity(FACTS).key


def test_an_engine_that_changes_in_a_package_below_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = tmp_path / "anengine" / "below"
    below.mkdir(parents=True)
    for path in (below.parent / "__init__.py", below.parent / "probe.py", below / "__init__.py", below / "step.py"):
        path.write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))

    def engine() -> str:
        return versions.__wrapped__(1, "anengine.probe:probe")["engine"]

    first = engine()
    assert engine() == first
    (below / "step.py").write_text("CHANGED = True")
    assert engine() != first


def test_an_executor_tells_its_identity_with_a_probe_and_each_result_carries_it(
    run: Run, executor: Executor, job: Job
) -> None:
    identity, result = run(executor.identity()), run(first_unit(executor, job, LIMIT_S))

    assert {"torch", "torch_threads", "engine", "probe"} <= set(identity.facts)
    assert result.identity == identity.key


def test_a_pool_and_a_thread_of_this_process_have_the_same_identity(
    run: Run, pool: Executor, in_process: Executor
) -> None:
    assert run(pool.identity()) == run(in_process.identity())


@pytest.mark.slow
def test_where_kernels_change_a_bit_they_change_the_identity(
    run: Run, pool: Executor, network_jobs: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in OTHER_KERNELS.items():
        monkeypatch.setenv(name, value)

    async def bits(executor: Executor) -> dict[str, str]:
        return {name: (await first_unit(executor, job, LIMIT_S)).digest for name, job in network_jobs.items()}

    async def with_other_kernels() -> tuple[Identity, dict[str, str]]:
        other = ProcessPoolExecutor(workers=1, torch_threads=2, probe=PROBE)
        try:
            return await other.identity(), await bits(other)
        finally:
            await other.close()

    identity, theirs = run(with_other_kernels())

    if theirs != run(bits(pool)):
        assert identity.key != run(pool.identity()).key
    else:
        pytest.skip("these kernels change no bit on this processor")


def test_a_queue_serves_the_identity_of_the_first_worker_and_refuses_others_in_words() -> None:
    queue = JobQueue()

    async def asked_early() -> Identity:
        asking = asyncio.create_task(queue.identity())
        await asyncio.sleep(0)
        queue.register_worker(Identity(FACTS))
        return await asking

    assert asyncio.run(asked_early()) == Identity(FACTS)
    queue.register_worker(Identity({**FACTS, "processor": "another of the same make"}))
    with pytest.raises(IdentityError, match="probe was abc, is xyz"):
        queue.register_worker(Identity({**FACTS, "probe": "xyz"}))
    assert asyncio.run(queue.identity()) == Identity(FACTS)


def test_who_waits_for_an_identity_hears_that_there_will_be_none() -> None:
    async def ask(give_up: Callable[[JobQueue], None]) -> None:
        queue = JobQueue()
        asking = asyncio.create_task(queue.identity())
        await asyncio.sleep(0)
        give_up(queue)
        await asking

    with pytest.raises(ExecutorError, match="no worker"):
        asyncio.run(ask(lambda queue: queue.fail_waiting(ExecutorError("no worker can be started"))))
    with pytest.raises(ExecutorError, match="closed"):
        asyncio.run(ask(lambda queue: queue.close()))


@pytest.mark.slow  # it starts three workers
def test_a_worker_that_would_give_other_bits_gets_no_job(
    run: Run, job: Job, until: Until, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "PAUSE_S", 0.01)

    async def replace_by_another() -> tuple[str, str, str, bool]:
        pool = ProcessPoolExecutor(workers=1, torch_threads=2, probe=PROBE)
        try:
            before = await first_unit(pool, job, LIMIT_S)
            with monkeypatch.context() as patch:
                for name, value in OTHER_KERNELS.items():
                    patch.setenv(name, value)
                os.kill(pool.worker_pids[0], signal.SIGKILL)
                await until(lambda: pool.trouble is not None or (pool.worker_deaths == 1 and pool.ready))
                trouble, was_ready = pool.trouble, pool.ready
            if trouble is None:
                pytest.skip("these kernels change no bit on this processor")
            after = await first_unit(pool, job, LIMIT_S)
            return before.digest, after.digest, trouble, was_ready
        finally:
            await pool.close()

    before, after, trouble, was_ready = run(replace_by_another())

    assert "it would give other results than the workers before it: probe was" in trouble
    assert "it would give other results" in caplog.text
    assert not was_ready
    assert after == before
