"""The laws of a run on the fleet, over drawn scenarios."""

import asyncio

import pytest
from fleet_play import SEED, Run, bits, new_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.fleet.actions import SHARD_ACTIONS
from ml_trainer_env.server.fleet.restarts import Restart
from ml_trainer_env.server.fleet.rows import StepRow
from ml_trainer_env.server.fleet.run import FleetRun
from ml_trainer_env.server.trainer.fleet import faults
from ml_trainer_env.server.trainer.fleet.faults import Fault, Scenario
from ml_trainer_env.server.trainer.fleet.settings import SHARDS, WARMUP_STEPS

SECOND = 1_000_000
STEPS = 24

law = settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
moments = st.integers(3 * SECOND, 22 * SECOND)
nodes = st.integers(0, 7)
bad_shards = st.builds(faults.BadShard, st.just((1, 5, 9)), st.integers(0, 9), st.booleans())
early = st.one_of(
    st.builds(faults.Crash, nodes, moments.map(lambda one: (one, one + 30 * SECOND))),
    st.builds(faults.Hang, nodes, moments.map(lambda one: (one,))),
    st.builds(faults.StickyNode, nodes, moments, st.just(8 * SECOND)),
    st.builds(faults.SilentCorruption, nodes, moments, st.just(300), st.just(27)),
    st.builds(faults.DriftingReplica, nodes, moments, st.just(20 * SECOND), st.sampled_from([0.0, -0.5])),
    bad_shards,
    st.builds(faults.NonfiniteBatch, st.integers(0, SHARDS - 1), st.integers(0, 9)),
    st.builds(faults.SlowStorage, moments, st.just(SECOND), st.just(5)),
    st.builds(faults.CorruptCheckpoint, st.just(0), moments, st.just(500), st.just(0.6)),
    st.builds(faults.LostCursor, st.integers(1, 9)),
    st.builds(faults.LostSchedule, st.integers(-50, 10)),
    st.just(faults.HalfPrecision()),
)
scenarios = st.lists(early, min_size=1, max_size=3).map(lambda found: Scenario(tuple(found)))
delays = st.one_of(
    st.builds(faults.Straggler, nodes, st.just(0), st.sampled_from([1.6, 3.0])),
    st.builds(faults.LoaderStall, st.just((2, 3)), st.just(0), st.just(SECOND)),
    st.builds(faults.SlowLink, nodes, st.just(0), st.just(SECOND)),
)


async def train_until(fleet: FleetRun, units: int, most: int) -> None:
    """Train by calls of at most so many steps."""
    while (left := units - len(fleet.units)) > 0 and not fleet.is_spent:
        await fleet.train(min(left, most))


@law
@given(scenario=scenarios, cut=st.integers(1, 9), every=st.sampled_from([4, 7]))
def test_a_run_may_be_cut_into_calls_anywhere(
    executor: InProcessExecutor, run: Run, scenario: Scenario, cut: int, every: int
) -> None:
    whole, parts = new_run(executor, scenario), new_run(executor, scenario)
    for fleet in (whole, parts):
        fleet.set_training({"checkpoint_every": every}, None, None)

    run(train_until(whole, STEPS, STEPS))
    run(train_until(parts, STEPS, cut))

    assert bits(parts) == bits(whole)


def weights(fleet: FleetRun) -> bytes:
    assert fleet.ref.state is not None
    return fleet.ref.state.arrays["weights"].tobytes()


@law
@given(fault=delays, wait_us=st.integers(0, 40 * SECOND), shard=st.integers(0, SHARDS - 1), late=st.booleans())
def test_time_that_passes_changes_weights_through_the_learning_rate_alone(
    executor: InProcessExecutor, run: Run, fault: Fault, wait_us: int, shard: int, late: bool
) -> None:
    """The rate of a step is `rate_at(schedule, moment of its begin)`. It falls with time once the decay has begun.

    So before that, which is about the end of a warm-up, time that actions and delays take changes no bit. After it,
    the steps are those of a run whose rate is lower.
    """
    still, acting = new_run(executor, Scenario()), new_run(executor, Scenario((fault,)))
    for fleet in (still, acting):
        fleet.set_training({}, WARMUP_STEPS, None)
        fleet.pay(120 * SECOND if late else 0)
        run(fleet.train(1))
    acting.act(SHARD_ACTIONS["mirror"], shard)
    acting.pay(wait_us)
    for fleet in (still, acting):
        run(fleet.train(2))

    for fleet in (still, acting):
        begins = [row.now_us - row.times.step_us for row in fleet.rows]
        expected = [
            fleet.training.rate_at(WARMUP_STEPS + row.step, at) for row, at in zip(fleet.rows, begins, strict=True)
        ]
        assert [row.number("learning_rate") for row in fleet.rows] == expected
    assert still.rows[1].number("loss") == acting.rows[1].number("loss")  # the step before acting was the same
    assert (weights(acting) == weights(still)) == (not late)


def batches_read(row: StepRow) -> list[tuple[int, int]]:
    return [(place.position, place.shard) for own in row.places for place in own]


@law
@given(fault=bad_shards, skip=st.booleans(), back=st.sampled_from([4, 8]))
def test_who_rolls_back_meets_the_same_batches_unless_they_are_skipped(
    executor: InProcessExecutor, run: Run, fault: Fault, skip: bool, back: int
) -> None:
    """Batches depend on the position in the data, never on time, rank, node or the number of restarts."""
    fleet = new_run(executor, Scenario((fault,)))
    fleet.set_training({"checkpoint_every": 4}, None, None)
    run(fleet.train(12))
    first = {row.step: batches_read(row) for row in fleet.rows}
    fleet.restart(fleet.find(f"step-{back}"), Restart(skip=(back, back + 2) if skip else None))
    run(fleet.train(2))

    again = fleet.rows[12:]
    for row in again:
        read = batches_read(row)
        assert (read == first[row.step]) == (not skip)
        assert not skip or read == first[row.step + 2]
    same = fleet.rows[back].figures
    assert (repr(again[0].number("loss")) == repr(same["loss"])) == (not skip)


@pytest.mark.slow
@law
@given(scenario=scenarios, other=scenarios)
def test_neighbours_on_the_same_executor_change_nothing(
    executor: InProcessExecutor, run: Run, scenario: Scenario, other: Scenario
) -> None:
    alone, beside = new_run(executor, scenario), new_run(executor, scenario)
    neighbour = new_run(executor, other, seed=SEED + 1)

    async def interleaved() -> None:
        await asyncio.gather(train_until(beside, 12, 12), train_until(neighbour, 12, 5))

    run(train_until(alone, 12, 12))
    run(interleaved())

    assert bits(beside) == bits(alone)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    skips=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=3),
    position=st.integers(0, 40),
)
def test_a_restart_begins_at_the_position_that_was_asked_for_whatever_is_skipped(
    executor: InProcessExecutor, skips: list[tuple[int, int]], position: int
) -> None:
    fleet = new_run(executor, Scenario())
    for first, length in skips:
        fleet.restart(fleet.newest, Restart(skip=(first, first + length)))
    left_out = {at for first, length in skips for at in range(first, first + length)}

    fleet.restart(fleet.newest, Restart(data_position=position))
    read = [fleet.cluster.data_position(step) for step in range(20)]

    assert read == [at for at in range(position, 120) if at not in left_out][:20]
