"""A small job and every executor there is."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from ray_nodes import RayNodes, ray_cluster

from ml_trainer_env.server.datasets import Permutation
from ml_trainer_env.server.executors.contract import Executor
from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.executors.job import Job
from ml_trainer_env.server.executors.pool import ProcessPoolExecutor
from ml_trainer_env.server.trainer import PROBE
from ml_trainer_env.server.trainer.config import EpochSettings, TrainingConfig
from ml_trainer_env.server.trainer.examples import Examples, permuted
from ml_trainer_env.server.trainer.kinds import AugmentationKind
from ml_trainer_env.server.trainer.schedules import LearningRatePlan, LrSchedule
from ml_trainer_env.server.trainer.starts import StartKind, StartSpec
from ml_trainer_env.server.trainer.state import FreshState

TORCH_THREADS = 2
Result = TypeVar("Result")
Run = Callable[[Awaitable[Result]], Result]
Until = Callable[[Callable[[], bool]], Awaitable[None]]


def epoch_job(
    fresh: FreshState,
    settings: EpochSettings,
    images: Examples,
    permutation: Permutation | None = None,
    units: int = 1,
) -> Job:
    jobs = "ml_trainer_env.server.trainer.jobs"
    data = permuted(images, permutation)
    return Job(
        f"{jobs}:train_epoch",
        "ml_trainer_env.server.trainer.data:prepare",
        fresh.to_state(),
        settings,
        data,
        units,
        unit="epoch",
    )


def small_job(train: int = 200, seed: int = 1) -> Job:
    source = np.random.default_rng(3)
    images = source.integers(0, 256, (train + 100, 28, 28), dtype=np.uint8)
    labels = source.integers(0, 10, train + 100)
    parts = [images[:train], labels[:train], images[train:], labels[train:], images[train:], labels[train:]]
    data = Examples(f"small-{train}", AugmentationKind.DIGITS, *parts)
    config = TrainingConfig(dropout=0.2, augmentation=True)
    plan = LearningRatePlan(LrSchedule.COSINE, 0.003, 0, 10)
    return epoch_job(FreshState("simple_mlp", seed), EpochSettings(config, plan), data)


def long_job() -> Job:
    """An epoch that takes a quarter of a second or so."""
    job = small_job(train=4_000)
    return replace(job, state=FreshState("small_cnn", 1).to_state())


def lasting_job() -> Job:
    """An epoch that takes many seconds, for tests that do not wait for its end.

    It begins with the sixty epochs of a start in mid-run. So its data are few, and prepared in milliseconds: a worker
    hears of a cancellation only once they are.
    """
    start = StartSpec(StartKind.HOT, trained_epochs=60)
    return replace(small_job(train=2_000), state=FreshState("small_cnn", 1, start=start).to_state())


@pytest.fixture(scope="session")
def run() -> Iterator[Run[object]]:
    """Runs coroutines on one event loop, so that executors can outlive a test."""
    with asyncio.Runner() as runner:
        yield runner.run  # type: ignore[misc]  # it takes coroutines


@pytest.fixture(scope="session")
def until() -> Until:
    """Waits until something holds; how long that takes is no matter."""

    async def wait(condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.005)

    return wait


@contextmanager
def workers_know_toy_jobs() -> Iterator[None]:
    """Workers that are started meanwhile can import `toy_jobs`, and so can this process."""
    folder = str(Path(__file__).parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")])))
        yield


@pytest.fixture(name="workers_know_toy_jobs", scope="module", autouse=True)
def workers_know_toy_jobs_fixture() -> Iterator[None]:
    with workers_know_toy_jobs():
        yield


@pytest.fixture(scope="session")
def pool(run: Run[object]) -> Iterator[ProcessPoolExecutor]:
    """Its worker starts here, so that no test's own environment decides its identity."""
    executor = ProcessPoolExecutor(workers=1, torch_threads=TORCH_THREADS, probe=PROBE)
    with workers_know_toy_jobs():
        run(executor.identity())
    yield executor
    run(executor.close())


@pytest.fixture(scope="session")
def in_process(run: Run[None]) -> Iterator[InProcessExecutor]:
    executor = InProcessExecutor(torch_threads=TORCH_THREADS, probe=PROBE)
    run(executor.start())
    yield executor
    run(executor.close())


@pytest.fixture(scope="session")
def ray_nodes() -> Iterator[RayNodes]:
    """A Ray cluster with one node of four processors, on which this process and others may start actors."""
    if find_spec("ray") is None:  # not imported yet: Ray reads the token's variables on import
        pytest.skip("needs the extra [ray]")
    folder = str(Path(__file__).parent)
    path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    with ray_cluster(PYTHONPATH=path) as cluster, pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.variables.items():
            patch.setenv(name, value)
        cluster.add_node(2 * TORCH_THREADS)
        yield cluster


@pytest.fixture(scope="session")
def make_on_ray(ray_nodes: RayNodes) -> Callable[..., Executor]:
    """Makes an executor on Ray with the arguments of one, which the test closes."""
    from ml_trainer_env.server.executors.on_ray.executor import RayExecutor  # late: ray is an extra

    return partial(RayExecutor, ray_nodes.address)


@pytest.fixture(scope="session")
def on_ray(run: Run[object], make_on_ray: Callable[..., Executor]) -> Iterator[Executor]:
    executor = make_on_ray(torch_threads=TORCH_THREADS, probe=PROBE)
    run(executor.identity())
    yield executor
    run(executor.close())


@pytest.fixture(params=["in_process", "pool", pytest.param("on_ray", marks=pytest.mark.ray)])
def executor(request: pytest.FixtureRequest) -> Executor:
    executor: Executor = request.getfixturevalue(request.param)
    return executor


@pytest.fixture(name="job")
def job_fixture() -> Job:
    return small_job()


@pytest.fixture(name="long_job")
def long_job_fixture() -> Job:
    return long_job()


@pytest.fixture(name="lasting_job", scope="session")
def lasting_job_fixture() -> Job:
    return lasting_job()


@pytest.fixture
def network_jobs() -> dict[str, Job]:
    """A small job for each convolutional network, and one on permuted images."""
    small, jobs = small_job(), {}
    permutation = Permutation.draw(np.random.default_rng(5))
    scattered = replace(small.data, key="scattered", augmentation=AugmentationKind.SCATTERED)
    fresh = FreshState("batch_norm_mlp", 1)
    jobs["batch_norm_mlp"] = epoch_job(fresh, small.settings, scattered, permutation)
    for network in ("small_cnn", "deeper_cnn"):
        data = small.data
        if network == "deeper_cnn":
            source = np.random.default_rng(4)
            images = source.integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)
            few, labels = images[:100], data.train_labels[:200]
            data = Examples("colour", AugmentationKind.OBJECTS, images, labels, few, labels[:100], few, labels[:100])
        jobs[network] = epoch_job(FreshState(network, 1), small.settings, data)
    return jobs
