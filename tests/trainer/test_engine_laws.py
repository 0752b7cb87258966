"""The laws of the engine, over networks, optimizers, schedules, dropout and augmentation."""

import copy
import random
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_trainer_env.server.trainer.config import TrainingConfig
from ml_trainer_env.server.trainer.data import TensorData
from ml_trainer_env.server.trainer.engine import advance, held_out_accuracy, initial_state
from ml_trainer_env.server.trainer.errors import Interrupted
from ml_trainer_env.server.trainer.network_specs import NETWORKS
from ml_trainer_env.server.trainer.schedules import LearningRatePlan, LrSchedule
from ml_trainer_env.server.trainer.state import FreshState, TrainingState, weights_hash

Tensors = Mapping[str, TensorData]

SPAN_EPOCHS = 6

configs = st.builds(
    TrainingConfig,
    optimizer=st.sampled_from(["sgd", "adam", "adamw"]),
    learning_rate=st.sampled_from([0.0003, 0.003, 0.02]),
    batch_size=st.sampled_from([32, 64]),
    weight_decay=st.sampled_from([0.0, 0.01]),
    dropout=st.sampled_from([0.0, 0.3]),
    lr_schedule=st.sampled_from(list(LrSchedule)),
    warmup_epochs=st.integers(0, 3),
    augmentation=st.booleans(),
    augmentation_strength=st.sampled_from([0.0, 0.4, 1.0]),
)
CNNS = ("small_cnn", "deeper_cnn")
MOST = [pytest.param(name, marks=[pytest.mark.slow] if name in CNNS else []) for name in NETWORKS]
"""The networks, of which those that take most are left to the slow tests."""

law = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def plan_of(config: TrainingConfig) -> LearningRatePlan:
    return LearningRatePlan(config.lr_schedule, config.learning_rate, 0, SPAN_EPOCHS, config.warmup_epochs)


def fingerprint(state: TrainingState) -> tuple[str, tuple[tuple[str, bytes], ...]]:
    return weights_hash(state), tuple((name, array.tobytes()) for name, array in state.optimizer.items())


@law
@given(network=st.sampled_from(list(NETWORKS)), config=configs, first=st.integers(1, 2))
def test_a_run_in_two_chunks_equals_the_run_in_one(
    tensors: Tensors, network: str, config: TrainingConfig, first: int
) -> None:
    data, plan, start = tensors[network], plan_of(config), initial_state(FreshState(network, seed=3))

    whole, whole_metrics = advance(start, config, plan, data, epochs=3)
    half, half_metrics = advance(start, config, plan, data, epochs=first)
    if not half_metrics[-1].diverged:
        half, rest_metrics = advance(half, config, plan, data, epochs=3 - first)
        half_metrics += rest_metrics

    assert repr(half_metrics) == repr(whole_metrics)  # repr, because NaN differs from itself
    assert fingerprint(half) == fingerprint(whole)


@law
@given(network=st.sampled_from(list(NETWORKS)), config=configs)
def test_advancing_leaves_state_and_data_as_they_were(tensors: Tensors, network: str, config: TrainingConfig) -> None:
    data, start = tensors[network], initial_state(FreshState(network, seed=5))
    start, _ = advance(start, config, plan_of(config), data)
    before = copy.deepcopy(fingerprint(start)), data.train_inputs.clone(), data.train_labels.clone()

    advance(start, config, plan_of(config), data, epochs=2)

    assert fingerprint(start) == before[0]
    assert torch.equal(data.train_inputs, before[1])
    assert torch.equal(data.train_labels, before[2])


@law
@given(network=st.sampled_from(list(NETWORKS)), config=configs)
def test_global_random_state_is_neither_read_nor_moved(tensors: Tensors, network: str, config: TrainingConfig) -> None:
    def run(global_seed: int) -> tuple[Any, bool]:
        torch.manual_seed(global_seed)
        np.random.seed(global_seed)
        random.seed(global_seed)
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        state, _ = advance(initial_state(FreshState(network, 1)), config, plan_of(config), tensors[network])
        unmoved = (
            torch.equal(torch.get_rng_state(), before[0])
            and np.random.get_state()[1].tolist() == before[1]
            and random.getstate() == before[2]
        )
        return fingerprint(state), unmoved

    (one, one_unmoved), (other, other_unmoved) = run(1), run(2)

    assert one == other
    assert one_unmoved
    assert other_unmoved


@pytest.mark.parametrize("network", MOST)
def test_a_second_training_beside_it_changes_no_bit(tensors: Tensors, network: str) -> None:
    config = TrainingConfig(dropout=0.2, augmentation=True)
    data, plan = tensors[network], plan_of(config)

    def run(seed: int) -> str:
        return weights_hash(advance(initial_state(FreshState(network, seed)), config, plan, data, epochs=3)[0])

    alone = run(1)
    beside: list[str] = []
    other = threading.Thread(target=lambda: beside.extend(run(2) for _ in range(2)))
    other.start()
    together = [run(1) for _ in range(2)]
    other.join()

    assert together == [alone] * 2
    assert len(set(beside)) == 1
    assert beside[0] != alone


@pytest.mark.parametrize("network", list(NETWORKS))
def test_an_interrupted_epoch_stops_before_any_batch_and_leaves_the_start_as_it_was(
    tensors: Tensors, network: str
) -> None:
    config = TrainingConfig(batch_size=32, dropout=0.2, augmentation=True)
    data, plan, start = tensors[network], plan_of(config), initial_state(FreshState(network, seed=3))
    before, batches = fingerprint(start), -(-len(data.train_labels) // config.batch_size)

    def interrupt_at(batch: int) -> int:
        asked = 0

        def interrupted() -> bool:
            nonlocal asked
            asked += 1
            return asked == batch

        with pytest.raises(Interrupted):
            advance(start, config, plan, data, interrupted=interrupted)
        return asked

    assert [interrupt_at(batch) for batch in (1, 2, batches)] == [1, 2, batches]
    assert fingerprint(start) == before


def test_being_asked_before_each_batch_changes_no_bit(tensors: Tensors) -> None:
    config, data = TrainingConfig(batch_size=32), tensors["small_cnn"]
    start, asked = initial_state(FreshState("small_cnn", seed=3)), []

    alone, _ = advance(start, config, plan_of(config), data, epochs=2)
    watched, _ = advance(start, config, plan_of(config), data, epochs=2, interrupted=lambda: bool(asked.append(1)))

    assert fingerprint(watched) == fingerprint(alone)
    assert len(asked) == 2 * -(-len(data.train_labels) // config.batch_size)


@pytest.mark.parametrize("network", list(NETWORKS))
def test_seed_and_epoch_decide_the_initial_weights(network: str) -> None:
    hashes = {weights_hash(initial_state(FreshState(network, seed, epoch))) for seed in (0, 1) for epoch in (0, 1)}

    assert len(hashes) == 4
    assert weights_hash(initial_state(FreshState(network, 0))) in hashes


@pytest.mark.parametrize("network", MOST)
def test_training_learns(tensors: Tensors, network: str) -> None:
    config, data = TrainingConfig(learning_rate=0.003, batch_size=32), tensors[network]

    state, metrics = advance(initial_state(FreshState(network, 0)), config, plan_of(config), data, epochs=SPAN_EPOCHS)

    assert metrics[-1].train_loss < metrics[0].train_loss
    assert metrics[-1].val_accuracy > 0.5
    assert held_out_accuracy(state, data) > 0.5


def test_a_rate_beyond_reason_diverges_and_stops_the_run(tensors: Tensors) -> None:
    config = TrainingConfig(optimizer="sgd", learning_rate=10.0)
    data = tensors["small_cnn"]

    _, metrics = advance(initial_state(FreshState("small_cnn", 0)), config, plan_of(config), data, epochs=5)

    assert metrics[-1].diverged
    assert len(metrics) < 5


def test_train_accuracy_is_of_clean_images_so_augmentation_cannot_hide_overfitting(tensors: Tensors) -> None:
    data = tensors["simple_mlp"]
    plain = TrainingConfig(learning_rate=0.003, batch_size=32)
    fitted, _ = advance(initial_state(FreshState("simple_mlp", 0)), plain, plan_of(plain), data, epochs=6)
    still = LearningRatePlan(LrSchedule.CONSTANT, 1e-12, 0, SPAN_EPOCHS)
    disguised = TrainingConfig(dropout=0.5, augmentation=True, augmentation_strength=1.0)

    _, (metrics,) = advance(fitted, disguised, still, data)

    assert metrics.train_accuracy == 1.0
    assert metrics.train_loss > 0.3


def test_another_kind_of_optimizer_starts_without_the_buffers_of_the_last(tensors: Tensors) -> None:
    data, adam, sgd = tensors["simple_mlp"], TrainingConfig(), TrainingConfig(optimizer="sgd")
    state, _ = advance(initial_state(FreshState("simple_mlp", 0)), adam, plan_of(adam), data)
    bare = TrainingState(state.network, state.weights, {}, "", state.epoch, state.seed)

    switched, _ = advance(state, sgd, plan_of(sgd), data)
    fresh, _ = advance(bare, sgd, plan_of(sgd), data)

    assert fingerprint(switched) == fingerprint(fresh)


@pytest.mark.parametrize(
    "change", [{"dropout": 0.4}, {"batch_size": 32}, {"weight_decay": 0.1}, {"augmentation": True}]
)
def test_momentum_survives_a_change_of_any_other_setting(tensors: Tensors, change: dict[str, object]) -> None:
    data, before = tensors["simple_mlp"], TrainingConfig()
    after = before.with_changes(change)
    state, _ = advance(initial_state(FreshState("simple_mlp", 0)), before, plan_of(before), data)
    bare = TrainingState(state.network, state.weights, {}, "", state.epoch, state.seed)

    kept, _ = advance(state, after, plan_of(after), data)
    dropped, _ = advance(bare, after, plan_of(after), data)

    assert weights_hash(kept) != weights_hash(dropped)
    steps = {name: array for name, array in kept.optimizer.items() if name.endswith("/step")}
    assert all(float(step) > float(state.optimizer[name]) for name, step in steps.items())
