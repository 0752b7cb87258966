"""A worker is given its time to become ready by what it could do with it, not by the clock."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import torch

from ml_trainer_env.server.executors import startup, worker_process
from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.executors.runner import is_out_of_memory
from ml_trainer_env.server.executors.startup import ProcessSnapshot, StartupWatch, snapshot_of
from ml_trainer_env.server.executors.worker_process import WorkerProcess, WorkerSettings
from ml_trainer_env.server.trainer import PROBE

linux = pytest.mark.skipif(snapshot_of(os.getpid()) is None, reason="the system does not tell processor time")


@dataclass
class Bench:
    """A process and a clock as a test sets them."""

    snapshot: ProcessSnapshot | None = None
    now: float = 1000.0

    def watch(self) -> StartupWatch:
        return StartupWatch(lambda: self.snapshot, lambda: self.now)

    def passes(self, seconds: float, cpu_s: float, is_asleep: bool = False) -> None:
        self.now += seconds
        self.snapshot = ProcessSnapshot((self.snapshot.cpu_s if self.snapshot else 0.0) + cpu_s, is_asleep)


def test_a_worker_that_waits_for_its_turn_is_waited_for_however_long_that_takes() -> None:
    bench = Bench()
    watch = bench.watch()

    for _ in range(100):
        bench.passes(3600.0, cpu_s=1.0)
        assert watch.check() is None
    assert watch.describe() == "a worker has been starting for 360000 s and was given 100.0 s of a processor"


def test_a_worker_that_has_used_its_processor_time_is_given_up() -> None:
    bench = Bench()
    watch = bench.watch()
    bench.passes(1.0, cpu_s=startup.CPU_LIMIT_S + 1)

    assert "120 s of processor time" in str(watch.check())


def test_a_worker_that_sleeps_and_gets_nowhere_is_given_up_and_one_that_gets_on_is_not() -> None:
    bench = Bench()
    watch = bench.watch()
    for _ in range(10):
        bench.passes(startup.ASLEEP_LIMIT_S - 1, cpu_s=0.01, is_asleep=True)
        assert watch.check() is None
    bench.passes(startup.ASLEEP_LIMIT_S + 1, cpu_s=0.0, is_asleep=True)

    assert "300 s of sleep" in str(watch.check())


def test_the_clock_decides_where_the_system_tells_nothing() -> None:
    bench = Bench()
    watch = bench.watch()
    bench.now += startup.CLOCK_LIMIT_S - 1
    assert watch.check() is None
    bench.now += 2

    assert "not ready within 600 s" in str(watch.check())


def test_nothing_is_known_of_a_process_that_is_not_there() -> None:
    assert snapshot_of(2**22 + 1) is None


@pytest.fixture
def start_worker(monkeypatch: pytest.MonkeyPatch) -> Callable[[], WorkerProcess]:
    monkeypatch.setattr(worker_process, "START_CHECK_INTERVAL_S", 0.02)
    return lambda: WorkerProcess(WorkerSettings(1, None, PROBE, {}))


@pytest.mark.slow
@linux
def test_a_worker_that_is_stopped_for_an_hour_while_it_starts_becomes_ready_when_it_may_go_on(
    start_worker: Callable[[], WorkerProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench()
    monkeypatch.setattr(worker_process, "StartupWatch", partial(StartupWatch, clock=lambda: bench.now))
    worker = start_worker()
    os.kill(worker.pid, signal.SIGSTOP)
    looks = 0

    def an_hour_passes(_: StartupWatch) -> None:
        nonlocal looks
        looks += 1
        if looks < 10:
            bench.now += 360.0
        elif looks == 10:
            os.kill(worker.pid, signal.SIGCONT)

    try:
        assert "probe" in worker.wait_ready(an_hour_passes).facts
        assert looks >= 10
        assert worker.is_alive
    finally:
        worker.close()


@linux
def test_a_worker_that_computes_and_does_not_become_ready_is_ended(
    start_worker: Callable[[], WorkerProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "CPU_LIMIT_S", 0.1)
    worker = start_worker()
    try:
        with pytest.raises(ExecutorError, match=r"not ready within 0\.1 s of processor time"):
            worker.wait_ready()
        assert not worker.is_alive
    finally:
        worker.close()


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")]
)
def test_memory_that_ran_out_is_told_from_a_bug_on_every_device(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@pytest.mark.parametrize(("memory_mb", "limit"), [(None, "$"), (4_000, r" \(with the worker's limit of 4000 MB\)$")])
def test_a_worker_that_cannot_start_says_why_and_within_which_memory(memory_mb: int | None, limit: str) -> None:
    worker = WorkerProcess(WorkerSettings(1, memory_mb, "toy_jobs:failing_probe", {}))
    try:
        with pytest.raises(ExecutorError, match=f"ValueError: these kernels cannot be used{limit}"):
            worker.wait_ready()
        assert not worker.is_alive
    finally:
        worker.close()
