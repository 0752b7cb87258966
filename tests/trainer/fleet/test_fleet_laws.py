"""The laws of the fleet's engine, over drawn scenarios."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_trainer_env.server.trainer.fleet import faults
from ml_trainer_env.server.trainer.fleet.clock import GUARD_US
from ml_trainer_env.server.trainer.fleet.engine import MODEL, Step, evaluate, first_state, reduce_in_order, take_step
from ml_trainer_env.server.trainer.fleet.faults import Fault, Scenario
from ml_trainer_env.server.trainer.fleet.settings import (
    RANKS,
    SHARDS,
    Adjustment,
    Cluster,
    StepSettings,
    TrainingSettings,
)
from ml_trainer_env.server.trainer.fleet.state import FIRST_LOSS_SCALE, FleetState, FreshFleet, state_hash
from ml_trainer_env.server.trainer.fleet.text import Text

SECOND = 1_000_000
SEED = 4

nodes = st.integers(0, RANKS - 1)
shards = st.lists(st.integers(0, SHARDS - 1), min_size=1, max_size=3, unique=True).map(
    lambda found: tuple(sorted(found))
)
positions = st.integers(0, 4)
moments = st.integers(0, 5 * SECOND)

on_time = st.one_of(
    st.builds(faults.Straggler, nodes, moments, st.sampled_from([1.6, 3.0])),
    st.builds(faults.LoaderStall, shards, moments, st.just(SECOND)),
    st.builds(faults.SlowLink, nodes, moments, st.just(SECOND)),
    st.builds(faults.SlowStorage, moments, st.just(SECOND), st.integers(1, 9)),
)
on_weights = st.one_of(
    st.builds(faults.BadShard, shards, positions, st.booleans()),
    st.builds(faults.PoisonedBatch, st.integers(0, SHARDS - 1), positions, st.integers(1, 2), st.just(1000.0)),
    st.builds(faults.SilentCorruption, nodes, moments, st.just(3), st.sampled_from([20, 27])),
    st.builds(faults.DriftingReplica, nodes, st.just(0), moments, st.sampled_from([0.0, -0.5])),
    st.builds(faults.NonfiniteBatch, st.integers(0, SHARDS - 1), positions),
    st.builds(faults.HalfPrecision),
)
dying = st.builds(
    faults.Crash, nodes, st.lists(moments, min_size=1, max_size=2).map(lambda found: tuple(sorted(found)))
)
scenarios = st.lists(st.one_of(on_time, on_weights, dying), max_size=3).map(lambda found: Scenario(tuple(found)))
clusters = st.builds(
    Cluster,
    nodes=st.permutations(range(RANKS)).flatmap(lambda order: st.integers(3, RANKS).map(lambda n: tuple(order[:n]))),
    quarantined=st.one_of(st.just(()), shards),
    mirrored=st.one_of(st.just(()), shards),
    skipped=st.sampled_from([(), ((2, 5),)]),
)
law = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def play(settings_: StepSettings, text: Text, steps: int, state: FleetState | None = None) -> list[Step]:
    """Take steps until one rank dies."""
    taken: list[Step] = []
    for _ in range(steps):
        state = first_state(FreshFleet(SEED)) if state is None else state
        taken.append(take_step(state, settings_, text))
        state = taken[-1].state
        if taken[-1].stop is not None:
            break
    return taken


def died(steps: Sequence[Step]) -> list[int | None]:
    return [None if step.stop is None else step.stop.rank for step in steps]


def hashes(steps: Sequence[Step]) -> list[str]:
    return [state_hash(step.state) for step in steps]


def weights(steps: Sequence[Step]) -> list[bytes]:
    return [step.state.weights.tobytes() for step in steps]


def straggling(*, node: int) -> Scenario:
    return Scenario((faults.Straggler(node, 0, 3.0),))


@law
@given(scenario=scenarios, cluster=clusters, cut=st.integers(1, 3))
def test_a_run_may_be_cut_anywhere_and_stored_between(
    text: Text, scenario: Scenario, cluster: Cluster, cut: int
) -> None:
    chosen = StepSettings(scenario=scenario, cluster=cluster)
    whole = play(chosen, text, 4)

    first = play(chosen, text, cut)
    stored = FleetState.from_state(first[-1].state.to_state())
    rest = [] if first[-1].stop is not None else play(chosen, text, 4 - cut, stored)

    assert hashes([*first, *rest]) == hashes(whole)


@law
@given(scenario=scenarios, cluster=clusters)
def test_steps_neither_read_nor_move_global_random_state_and_change_no_argument(
    text: Text, scenario: Scenario, cluster: Cluster
) -> None:
    chosen, start = StepSettings(scenario=scenario, cluster=cluster), first_state(FreshFleet(SEED))
    before = state_hash(start), text.shards.tobytes()
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        found.append(hashes(play(chosen, text, 2, start)))

    assert found[0] == found[1]
    assert (state_hash(start), text.shards.tobytes()) == before
    assert torch.initial_seed() == 2


@law
@given(fault=on_time, offset=st.integers(0, 60 * SECOND), mirrored=shards, incarnation=st.integers(0, 3))
def test_what_acts_on_time_alone_changes_no_weight(
    text: Text, fault: Fault, offset: int, mirrored: tuple[int, ...], incarnation: int
) -> None:
    cluster = Cluster(mirrored=mirrored, incarnation=incarnation)
    disturbed = StepSettings(scenario=Scenario((fault,)), cluster=cluster, offset_us=offset)

    assert weights(play(disturbed, text, 3)) == weights(play(StepSettings(), text, 3))


@law
@given(fault=on_weights)
def test_what_acts_on_weights_alone_changes_no_time(text: Text, fault: Fault) -> None:
    broken = play(StepSettings(scenario=Scenario((fault,))), text, 3)

    assert [step.times for step in broken] == [step.times for step in play(StepSettings(), text, 3)]


@pytest.mark.slow
@law
@given(shard=st.integers(0, SHARDS - 1), first=st.integers(1, 2))
def test_rolling_back_meets_the_same_batch_again_and_skipping_does_not(text: Text, shard: int, first: int) -> None:
    position = next(at for at in range(first, 9) if shard in read_at(at))
    broken = StepSettings(scenario=Scenario((faults.PoisonedBatch(shard, position, 1, 1000.0),)))
    steps = play(broken, text, position + 1)
    before = steps[position - 1].state

    again = take_step(before, replace(broken, cluster=Cluster(incarnation=1)), text)
    skipping = take_step(before, replace(broken, cluster=Cluster(skipped=((position, position + 1),))), text)

    assert again.gradient_norm == steps[position].gradient_norm
    assert skipping.gradient_norm is not None
    assert again.gradient_norm is not None
    assert skipping.gradient_norm < again.gradient_norm / 10


def read_at(position: int) -> set[int]:
    return {(position * RANKS + batch) % SHARDS for batch in range(RANKS)}


@pytest.mark.slow
@law
@given(cluster=clusters)
def test_every_step_reads_as_many_batches_whatever_the_ranks_and_none_of_a_quarantined_shard(
    text: Text, cluster: Cluster
) -> None:
    spoilt = Scenario((faults.BadShard(cluster.quarantined, 0),)) if cluster.quarantined else Scenario()
    steps = play(StepSettings(cluster=cluster, scenario=spoilt), text, 3)
    clean = play(StepSettings(cluster=cluster), text, 3)

    assert weights(steps) == weights(clean)
    most = max(sum(step.times.compute_us) for step in clean)
    assert sum(play(StepSettings(), text, 1)[0].times.compute_us) == pytest.approx(most, rel=0.05)
    assert {len(step.batch_losses) for step in steps} == {RANKS}
    assert {len(step.rank_norms) for step in steps} == {len(cluster.nodes)}


def test_a_fault_of_a_node_follows_the_node_and_not_the_rank(text: Text) -> None:
    moved = Cluster(nodes=(3, 1, 2, 0, 4, 5, 6, 7))
    slow = [
        max(
            range(RANKS),
            key=play(StepSettings(scenario=straggling(node=3), cluster=cluster), text, 1)[
                0
            ].times.compute_us.__getitem__,
        )
        for cluster in (Cluster(), moved)
    ]

    assert slow == [3, 0]


def test_the_slowest_rank_waits_least(text: Text) -> None:
    times = play(StepSettings(scenario=straggling(node=5)), text, 1)[0].times

    assert min(range(RANKS), key=times.wait_us.__getitem__) == 5
    assert times.step_us == max(map(sum, zip(times.compute_us, times.data_us, times.wait_us, strict=True)))


def test_a_node_dies_once_at_a_moment_and_the_state_stays(text: Text) -> None:
    scenario = Scenario((faults.Crash(2, (int(1.5 * SECOND),)),))
    steps = play(StepSettings(scenario=scenario), text, 5)

    assert died(steps) == [None, 2]
    assert steps[1].state.clock_us == 1.5 * SECOND
    assert weights(steps[1:]) == weights(steps[:1])
    restarted = StepSettings(scenario=scenario, cluster=Cluster(begun_us=2 * SECOND), offset_us=SECOND // 2)
    assert take_step(steps[1].state, restarted, text).stop is None


def test_a_moment_that_passes_while_the_job_waits_strikes_when_it_goes_on(text: Text) -> None:
    scenario = Scenario((faults.Crash(2, (int(1.5 * SECOND),)),))
    state = play(StepSettings(scenario=scenario), text, 1)[0].state

    assert died([take_step(state, StepSettings(scenario=scenario, offset_us=9 * SECOND), text)]) == [2]


def test_a_sticky_node_dies_after_each_start_unless_it_is_not_used(text: Text) -> None:
    scenario = Scenario((faults.StickyNode(2, 0, int(1.5 * SECOND)),))
    first = play(StepSettings(scenario=scenario), text, 5)
    restarted = Cluster(incarnation=1, begun_us=20 * SECOND)
    drained = Cluster(nodes=(0, 1, 3, 4, 5, 6, 7), incarnation=1, begun_us=20 * SECOND)

    again, without = (
        play(StepSettings(scenario=scenario, cluster=cluster, offset_us=20 * SECOND), text, 5)
        for cluster in (restarted, drained)
    )

    assert died(first) == died(again) == [None, 2]
    assert died(without) == [None] * 5


def test_a_leak_belongs_to_a_rank_and_not_to_a_node(text: Text) -> None:
    scenario = Scenario((faults.MemoryLeak(6, int(1.5 * SECOND)),))
    moved = Cluster(nodes=(0, 1, 2, 3, 4, 5, 8, 7))
    recording = StepSettings(TrainingSettings(**scenario.first_settings), moved, scenario)

    assert died(play(recording, text, 3)) == [None, 6]
    assert died(play(StepSettings(cluster=moved, scenario=scenario), text, 3)) == [None] * 3


def test_a_slow_link_slows_all_ranks_and_storage_the_steps_after_a_checkpoint(text: Text) -> None:
    saved = Cluster(saved_at_step=0)
    clean, link, storage = (
        play(StepSettings(scenario=Scenario(found), cluster=saved), text, 6)
        for found in ((), (faults.SlowLink(1, 0, SECOND),), (faults.SlowStorage(0, 4 * SECOND, 4),))
    )
    extra = [
        [slow.times.step_us - own.times.step_us for slow, own in zip(slowed, clean, strict=True)]
        for slowed in (link, storage)
    ]

    assert extra[0] == [SECOND] * 6
    assert extra[1] == [4 * SECOND, 3 * SECOND, 2 * SECOND, SECOND, 0, 0]
    assert all(wait - own == SECOND for wait, own in zip(link[0].times.wait_us, clean[0].times.wait_us, strict=True))


@pytest.mark.parametrize("guard", [{"clip_norm": 1e3}, {"skip_nonfinite": True}, {"dynamic_loss_scale": True}])
def test_a_guard_that_has_nothing_to_do_takes_time_and_changes_no_weight(text: Text, guard: dict[str, Any]) -> None:
    without, guarded = (play(StepSettings(TrainingSettings(**one)), text, 3) for one in ({}, guard))

    times = [(slow.times.step_us, own.times.step_us) for slow, own in zip(guarded, without, strict=True)]
    assert [slow - own for slow, own in times] == [GUARD_US] * 3
    assert weights(guarded) == weights(without)


def test_half_precision_learns_nothing_until_the_loss_scale_fits(text: Text) -> None:
    half = StepSettings(scenario=Scenario((faults.HalfPrecision(),)))
    dynamic = replace(half, training=TrainingSettings(dynamic_loss_scale=True))
    static, scaled = play(half, text, 4), play(dynamic, text, 20)

    assert all(step.skipped for step in static)
    assert weights(static) == [first_state(FreshFleet(SEED)).weights.tobytes()] * 4
    assert not scaled[-1].skipped
    assert scaled[-1].state.loss_scale < FIRST_LOSS_SCALE


def test_a_gradient_that_is_not_a_number_is_left_out_or_destroys_the_model(text: Text) -> None:
    broken = StepSettings(scenario=Scenario((faults.NonfiniteBatch(3, 0),)))
    guarded = replace(broken, training=TrainingSettings(skip_nonfinite=True))

    unguarded, skipping = play(broken, text, 2), play(guarded, text, 2)

    assert not np.isfinite(unguarded[-1].state.weights).any()
    assert [step.skipped for step in skipping] == [True, False]
    assert np.isfinite(skipping[-1].state.weights).all()
    assert [np.isfinite(norm) for norm in unguarded[0].rank_norms] == [rank != 3 for rank in range(RANKS)]


def test_a_drifted_replica_stays_behind_until_it_is_copied(text: Text) -> None:
    scenario = Scenario((faults.DriftingReplica(2, 0, 2 * SECOND, 0.0),))
    chosen = StepSettings(scenario=scenario)
    steps = play(chosen, text, 4)
    last = steps[-1].state

    assert set(last.replicas) == {2}
    behind = last.replicas[2] - last.weights
    assert np.allclose(behind, steps[1].state.replicas[2] - steps[1].state.weights, atol=1e-6)
    healed = take_step(last, replace(chosen, adjustment=Adjustment(4, copied_node=0)), text).state
    assert not healed.replicas
    assert np.abs(healed.weights - last.weights).max() < 0.1


def test_an_adjustment_is_for_its_step_alone(text: Text) -> None:
    adjusted = StepSettings(adjustment=Adjustment(1, schedule=200, fresh_optimizer=True, loss_scale=8.0))
    steps = play(adjusted, text, 3)

    assert [step.state.schedule for step in steps] == [1, 201, 202]
    assert [step.state.updates for step in steps] == [1, 1, 2]
    assert steps[-1].state.loss_scale == 8.0


@pytest.mark.parametrize("ranks", [3, 5, 8])
def test_gradients_are_those_of_each_rank_alone_added_in_order(ranks: int) -> None:
    source = np.random.default_rng(1)
    tokens = torch.from_numpy(source.integers(0, 96, (ranks, 4, MODEL.context + 1)))
    start = MODEL.draw(3) + 0.01

    losses, together = MODEL.gradients(start, tokens[..., :-1], tokens[..., 1:])
    alone = [MODEL.gradients(start, one[None, :, :-1], one[None, :, 1:]) for one in tokens]

    assert torch.equal(together, torch.cat([gradient for _, gradient in alone]))
    assert torch.equal(losses, torch.cat([loss for loss, _ in alone]))
    expected = alone[0][1][0].clone()
    for _, gradient in alone[1:]:
        expected += gradient[0]
    assert torch.equal(reduce_in_order(together), expected)


@pytest.mark.slow
def test_training_lowers_the_loss_on_text_that_is_not_trained_on(text: Text) -> None:
    steps = play(StepSettings(), text, 40)

    assert evaluate(first_state(FreshFleet(SEED)), text.held_out) == pytest.approx(np.log(96), abs=0.01)
    assert evaluate(steps[-1].state, text.held_out, 64) < 3.6
