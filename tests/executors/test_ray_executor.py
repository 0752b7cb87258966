"""What only workers on Ray can do: run on several nodes, lose them, and go on elsewhere with the same bits."""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray_nodes import RayNode, RayNodes

from ml_trainer_env.server.executors import conversation, supervisor
from ml_trainer_env.server.executors.contract import Executor, ExecutorError, OnUnit, ignore_unit, wait_quietly
from ml_trainer_env.server.executors.job import Job, UnitResult
from ml_trainer_env.server.trainer import PROBE
from ml_trainer_env.server.trainer.arrays import State
from ml_trainer_env.server.trainer.figures import Figures
from ml_trainer_env.server.trainer.fleet import faults
from ml_trainer_env.server.trainer.fleet.faults import Scenario
from ml_trainer_env.server.trainer.fleet.settings import CheckpointRead, StepSettings
from ml_trainer_env.server.trainer.fleet.state import FreshFleet
from ml_trainer_env.server.trainer.fleet.text import VOCABULARY, Text
from ml_trainer_env.server.trainer.state import FreshState

pytestmark = pytest.mark.ray

Run = Callable[[Awaitable[Any]], Any]
Until = Callable[[Callable[[], bool]], Awaitable[None]]
Bits = list[tuple[str, Figures]]
LIMIT_S = 300.0
KILLS = 20
UNITS = 24
"""Units of each of the jobs that run while a node is killed."""

STEP = "ml_trainer_env.server.trainer.fleet.jobs:train_step"
PREPARE_TEXT = "ml_trainer_env.server.trainer.fleet.text:prepare"
OTHER_KERNELS = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
"""Any of them gives some processors other kernels."""


@pytest.fixture(scope="module")
def nodes(ray_nodes: RayNodes, on_ray: Any) -> Iterator[list[RayNode]]:
    """Three nodes with a free place each for one worker: the first, where `on_ray` has one, and two further ones."""
    assert on_ray.ready
    first = ray_nodes.nodes[-1]
    found = [first, *(ray_nodes.add_node(2) for _ in range(2))]
    yield found
    for node in found:
        if node is not first and node.process.poll() is None:
            node.kill()


@pytest.fixture(scope="module")
def text() -> Text:
    source = np.random.default_rng(5)
    draws = {"shards": (16, 600), "probe": 900, "held_out": 900}
    return Text.of({name: source.integers(0, VOCABULARY, size, dtype=np.uint8) for name, size in draws.items()})


@pytest.fixture(scope="module")
def workers(run: Run, make_on_ray: Callable[..., Any], nodes: list[RayNode], until: Until) -> Iterator[Any]:
    """An executor with a worker on each of the nodes."""
    executor = make_on_ray(workers=len(nodes), torch_threads=2, probe=PROBE)
    run(executor.start())
    run(until(lambda: count_nodes(executor) == len(nodes)))
    yield executor
    run(executor.close())


def count_nodes(executor: Any) -> int:
    return len({place.node for place in executor.places})


def bits(results: Sequence[UnitResult]) -> Bits:
    return [(result.digest, result.figures) for result in results]


async def run_whole(executor: Executor, job: Job, on_unit: OnUnit = ignore_unit) -> list[UnitResult]:
    """Run all units of a job, which may end early where others wait."""
    results: list[UnitResult] = []
    while len(results) < job.units and not (results and results[-1].ends):
        results += await executor.run(job.after(results), LIMIT_S, wait_quietly, on_unit)
    return results


async def play_all_kinds(executor: Executor, networks: dict[str, Job], text: Text) -> dict[str, Bits]:
    """Run a job of each kind that the games have: epochs, evaluations, windows, inspections and references."""
    found: dict[str, Bits] = {}

    async def run(name: str, job: Job) -> UnitResult:
        results = await run_whole(executor, job)
        found[name] = bits(results)
        return results[-1]

    for name, job in networks.items():
        trained = (await run(f"epochs of {name}", replace(job, units=2))).state
        assert trained is not None
        measured = replace(job, state=trained, settings=None)
        for function, settings in (("measure_test_accuracy", None), ("measure_hidden", "hidden")):
            reference = job.function.replace("train_epoch", function)
            await run(f"{function} of {name}", replace(measured, function=reference, settings=settings))
    settings = StepSettings(scenario=Scenario((faults.DriftingReplica(6, 0, 9_000_000, 0.0),)))
    window = Job(STEP, PREPARE_TEXT, FreshFleet(4).to_state(), settings, text, 4, unit="step")
    fleet = (await run("a window of the fleet", window)).state
    assert fleet is not None
    await run("a reference of the fleet", replace(window, settings=StepSettings(), is_background=True))
    inspected = {"measure_held_out": settings, "measure_replicas": settings}
    for function, read in {**inspected, "measure_checkpoint": CheckpointRead(Scenario(), 5)}.items():
        await run(
            function, Job(STEP.replace("train_step", function), PREPARE_TEXT, fleet, read, text, unit="inspection")
        )
    return found


def test_a_job_that_needs_too_much_memory_fails_with_the_limit_in_words(
    run: Run, make_on_ray: Callable[..., Any]
) -> None:
    from toy_jobs import Steps

    small = Job("toy_jobs:allocate", "toy_jobs:prepare", State({}, {"start": "0"}), 1, Steps("1"), unit="step")

    async def ask_too_much() -> UnitResult:
        executor = make_on_ray(memory_mb=3000, torch_threads=2, probe="toy_jobs:probe")
        try:
            with pytest.raises(ExecutorError, match="a step needed more memory than the worker's limit of 3000 MB"):
                await executor.run(replace(small, settings=4000), LIMIT_S)
            result: UnitResult = (await executor.run(small, LIMIT_S))[0]
            return result
        finally:
            await executor.close()

    assert run(ask_too_much()).figures["value"] == 1


def test_a_worker_that_finds_no_place_says_what_it_waits_for(
    run: Run, make_on_ray: Callable[..., Any], until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "WARNING_INTERVAL_S", 0.1)

    async def ask_too_much() -> str:
        executor = make_on_ray(torch_threads=64, probe=PROBE)
        try:
            await executor.start()
            await until(lambda: executor.trouble is not None)
            assert not executor.ready
            trouble: str = executor.trouble
            return trouble
        finally:
            await executor.close()

    assert "a node of the Ray cluster with 64 free processors" in run(ask_too_much())


def test_a_dead_actor_costs_no_unit_that_it_had_delivered(run: Run, on_ray: Any, job: Job) -> None:
    delivered: list[UnitResult] = []

    def kill_after_two(result: UnitResult) -> None:
        delivered.append(result)
        if len(delivered) == 2:
            os.kill(on_ray.places[0].pid, signal.SIGKILL)

    straight, deaths = run(on_ray.run(replace(job, units=40), LIMIT_S)), on_ray.worker_deaths
    results = run(on_ray.run(replace(job, units=40), LIMIT_S, wait_quietly, kill_after_two))

    assert on_ray.worker_deaths == deaths + 1
    assert bits(results) == bits(straight)
    assert tuple(delivered) == results


def test_an_actor_that_died_while_idle_is_replaced_before_it_is_needed(
    run: Run, on_ray: Any, job: Job, until: Until
) -> None:
    async def kill_the_idle_one() -> None:
        os.kill(on_ray.places[0].pid, signal.SIGKILL)
        await until(lambda: on_ray.worker_deaths == deaths + 1 and on_ray.ready)

    run(on_ray.run(job, LIMIT_S))
    deaths = on_ray.worker_deaths
    run(kill_the_idle_one())

    assert run(on_ray.run(job, LIMIT_S))[0].state.facts["epoch"] == "1"
    assert on_ray.worker_deaths == deaths + 1


def test_an_actor_that_hangs_in_an_epoch_is_replaced_and_ends(
    run: Run, on_ray: Any, job: Job, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "STOP_TIMEOUT_S", 0.1)
    run(on_ray.run(job, LIMIT_S))
    frozen, deaths = on_ray.places[0].pid, on_ray.worker_deaths
    os.kill(frozen, signal.SIGSTOP)

    with pytest.raises(ExecutorError, match=r"took longer than 0\.1 s"):
        run(on_ray.run(job, 0.1))

    assert run(on_ray.run(job, LIMIT_S))[0].state.facts["epoch"] == "1"
    assert on_ray.worker_deaths == deaths + 1
    run(until(lambda: not is_running(frozen)))


# From here on `workers` leaves no place on the nodes that there are.


def test_all_kinds_of_jobs_have_the_same_bits_in_process_in_the_pool_and_on_three_nodes(
    run: Run, in_process: Executor, pool: Executor, workers: Any, network_jobs: dict[str, Job], job: Job, text: Text
) -> None:
    networks = {"simple_mlp": job, **network_jobs}

    async def at_once() -> list[dict[str, Bits]]:
        return await asyncio.gather(*(play_all_kinds(workers, networks, text) for _ in range(3)))

    here, there = (run(play_all_kinds(executor, networks, text)) for executor in (in_process, pool))
    played = run(at_once())

    assert len(here) == 17
    assert here == there
    assert played == [here] * 3
    assert run(workers.identity()) == run(pool.identity())


def test_a_node_that_gives_other_bits_serves_episodes_of_its_own(
    run: Run,
    make_on_ray: Callable[..., Any],
    ray_nodes: RayNodes,
    workers: Any,
    pool: Executor,
    job: Job,
    until: Until,
) -> None:
    assert workers.ready  # it leaves no place on the nodes that there are

    async def play() -> tuple[list[Bits], list[Bits]]:
        executor, added = make_on_ray(workers=2, torch_threads=2, probe=PROBE), []
        try:
            await executor.start()
            for kernels in ({}, OTHER_KERNELS):
                added.append(await asyncio.to_thread(ray_nodes.add_node, 2, **kernels))
                await until(lambda: sum(queue.workers for queue in executor._lanes) == len(added))
            keys = [queue.identity_key for queue in executor._lanes]
            if len(keys) == 1:
                pytest.skip("these kernels change no bit on this processor")
            lanes = [await executor.lane(key) for key in keys]
            found = await asyncio.gather(*(run_whole(lane, job) for lane in lanes * 2))
            assert [{unit.identity for unit in results} for results in found] == [{key} for key in keys * 2]
            played = [bits(results) for results in found]
            return played[:2], played[2:]
        finally:
            await executor.close()
            for node in added:
                node.kill()

    (ours, theirs), again = run(play())

    assert ours == bits(run(run_whole(pool, job)))
    assert theirs != ours
    assert again == [ours, theirs]


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_node_killed_and_one_added_in_mid_episode_change_no_bit(
    run: Run,
    on_ray: Executor,
    ray_nodes: RayNodes,
    nodes: list[RayNode],
    workers: Any,
    job: Job,
    text: Text,
    until: Until,
    seed: int,
) -> None:
    draw = random.Random(seed)
    victim, after = draw.randrange(1, 3), draw.randrange(1, UNITS)
    steps = Job(STEP, PREPARE_TEXT, FreshFleet(seed).to_state(), StepSettings(), text, UNITS, unit="step")
    networks = [FreshState(name, seed).to_state() for name in ("simple_mlp", "batch_norm_mlp")]
    jobs = [*(replace(job, state=state, units=UNITS) for state in networks), steps]
    straight = [bits(run(run_whole(on_ray, job))) for job in jobs]
    deaths = workers.worker_deaths

    async def play() -> list[Bits]:
        delivered, due = [0], asyncio.Event()

        def count(_: UnitResult) -> None:
            delivered[0] += 1
            if delivered[0] == after:
                due.set()

        async def change_nodes() -> None:
            await due.wait()
            assert workers.busy > 0
            nodes[victim].kill()
            nodes[victim] = await asyncio.to_thread(ray_nodes.add_node, 2)

        changing = asyncio.create_task(change_nodes())
        played = await asyncio.gather(*(run_whole(workers, job, count) for job in jobs))
        await changing
        await until(lambda: count_nodes(workers) == len(nodes))
        return [bits(results) for results in played]

    assert run(play()) == straight
    assert (
        workers.worker_deaths > deaths
    )  # Ray may place a new worker on a node of which it does not know yet that it died


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
