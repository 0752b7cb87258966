"""What the model of a deployment must say where it can be worked out by hand."""

from dataclasses import replace
from math import factorial
from typing import Any

import pytest


@pytest.fixture
def free() -> Any:
    """Constants of a program that costs nothing."""
    from simulation.constants import Constants, ExecutorConstants, JournalConstants, ServerConstants

    return Constants(
        "",
        ServerConstants(0, 0, 0, 0, 0.5, 0, 0, 0),
        {name: JournalConstants(0, 0, 0, 0) for name in ("sqlite", "postgresql")},
        {name: ExecutorConstants(0, 0, 0, 0, 0, 0) for name in ("pool", "ray")},
        0,
    )


@pytest.fixture
def costly(free: Any) -> Any:
    """Constants of about the size that was measured."""
    from simulation.constants import ExecutorConstants, JournalConstants, ServerConstants

    return replace(
        free,
        server=ServerConstants(0.003, 0.0005, 0.001, 0.002, 0.5, 0.00002, 0.001, 150.0),
        journals={name: JournalConstants(0.001, 0.001, 0.002, 0.0005) for name in free.journals},
        executors={name: ExecutorConstants(0.001, 0.0005, 0.0001, 0.002, 0.001, 0.001) for name in free.executors},
    )


def run(constants: Any, workers: int, sessions: int, **changes: Any) -> Any:
    """A simulation of calls of one epoch of a second, with a pause of a second before each."""
    from simulation.deployment import Deployment, Task, Workload
    from simulation.model import simulate

    workload = {"epochs": 1, "think_s": 1.0, "epoch_s": 1.0, "seconds": 100.0, "seed": 0, "state_mb": 1.0, **changes}
    task = Task("a task", workload.pop("epoch_s"), workload.pop("state_mb"))
    seconds, seed = workload.pop("seconds"), workload.pop("seed")
    warm_up_s = min(20.0, seconds)
    deployment = {"network_mb_per_s": None, "round_trip_s": 0.0, **workload.pop("deployment", {})}
    return simulate(
        constants,
        Deployment(workers, **deployment),
        Workload(task, sessions, **workload),
        seconds=seconds,
        warm_up_s=warm_up_s,
        seed=seed,
    )


def test_a_call_that_nothing_delays_lasts_as_long_as_its_epochs(free: Any) -> None:
    prediction = run(free, workers=4, sessions=4, epochs=5)

    assert prediction.latency_s == pytest.approx(5.0)


def test_sessions_without_a_pause_keep_all_workers_busy(free: Any) -> None:
    prediction = run(free, workers=4, sessions=12, think_s=0.0)

    assert prediction.epochs_per_s == pytest.approx(4.0, rel=0.01)
    assert prediction.utilisation["workers"] == pytest.approx(1.0)


def test_the_server_alone_is_the_machine_repair_model(free: Any) -> None:
    """The closed form is that of visits of random length. Equal ones come close to it."""
    server = replace(free.server, call_s=0.1)
    prediction = run(replace(free, server=server), workers=50, sessions=8, epoch_s=0.0, seconds=500.0)

    def weight(n: int) -> float:
        return factorial(8) / factorial(8 - n) * 0.1**n

    exponential = (1 - 1 / sum(map(weight, range(9)))) / 0.1
    assert prediction.calls_per_s == pytest.approx(exponential, rel=0.05)


def test_calls_and_pauses_obey_littles_law(costly: Any) -> None:
    prediction = run(costly, workers=3, sessions=10, seconds=400.0)

    cycle_s = 10 / prediction.calls_per_s
    assert cycle_s == pytest.approx(1.0 + prediction.latency_s, rel=0.1)  # the median is close to the mean


def test_jobs_of_one_server_are_a_chain_of_costs(costly: Any) -> None:
    prediction = run(costly, workers=1, sessions=1, think_s=0.0)

    server = 0.003 + 0.0005 + 0.001 + 0.002  # the call, its epoch, its state
    journal = 2 * (0.001 + 0.001 + 0.002 + 0.0005)
    executor = 0.0005 + 1.0 + 0.002 + 0.001 + 0.001 + 0.0001 + 0.001 + 0.0005
    assert prediction.latency_s == pytest.approx(server + journal + executor)


@pytest.mark.parametrize("journal", ["sqlite", "postgresql"])
@pytest.mark.parametrize("cores", [None, 2])
def test_no_part_is_used_more_than_fully(costly: Any, journal: str, cores: int | None) -> None:
    prediction = run(
        costly,
        workers=64,
        sessions=150,
        epoch_s=0.05,
        think_s=0.0,
        seconds=1.0,
        deployment={"journal": journal, "cores": cores, "network_mb_per_s": 100.0, "servers": 2},
    )

    assert all(0 <= share <= 1 + 1e-9 for share in prediction.utilisation.values())
    assert prediction.utilisation[prediction.saturated] > 0.95


def test_more_workers_never_train_less(costly: Any) -> None:
    rates = [run(costly, workers, 30, epoch_s=0.1, seconds=10.0).epochs_per_s for workers in (1, 2, 4, 8, 16)]

    assert rates == sorted(rates)
    assert rates[1] == pytest.approx(2 * rates[0], rel=0.05)


def test_a_server_more_takes_its_share_of_the_calls(costly: Any) -> None:
    options = {"workers": 400, "sessions": 200, "epoch_s": 0.05, "think_s": 0.1, "seconds": 3.0}
    one = run(costly, **options)
    two = run(costly, **options, deployment={"servers": 2})

    assert one.saturated == "server process"
    assert two.calls_per_s == pytest.approx(2 * one.calls_per_s, rel=0.1)
    assert two.memory_mb == one.memory_mb / 2


def test_a_seed_gives_the_same_prediction_and_another_one_nearly_the_same(costly: Any) -> None:
    first, again, other = (run(costly, 3, 10, seed=seed) for seed in (1, 1, 2))

    assert first == again
    assert other != first
    assert other.epochs_per_s == pytest.approx(first.epochs_per_s, rel=0.05)


def test_constants_are_read_as_they_were_written(costly: Any, tmp_path: Any) -> None:
    costly.save(tmp_path / "constants.json")

    assert type(costly).load(tmp_path / "constants.json") == costly
