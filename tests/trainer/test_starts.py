"""Starts in mid-run: values, keys, and what is wrong with the weights."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ml_trainer_env.server.datasets import ExampleKind, TargetKind
from ml_trainer_env.server.trainer import accidents
from ml_trainer_env.server.trainer.accidents import mislabelled_fifth, started_state
from ml_trainer_env.server.trainer.changes import Change, ChangedExamples
from ml_trainer_env.server.trainer.config import EpochSettings, OptimizerKind, TrainingConfig
from ml_trainer_env.server.trainer.data import TensorData
from ml_trainer_env.server.trainer.engine import advance, initial_state
from ml_trainer_env.server.trainer.errors import ConfigError, Interrupted
from ml_trainer_env.server.trainer.examples import Examples
from ml_trainer_env.server.trainer.jobs import train_epoch
from ml_trainer_env.server.trainer.kinds import AugmentationKind
from ml_trainer_env.server.trainer.lineage import epoch_key, fresh_key
from ml_trainer_env.server.trainer.network_specs import NetworkSpec, find_network
from ml_trainer_env.server.trainer.networks import build_network
from ml_trainer_env.server.trainer.randomness import Purpose, generator
from ml_trainer_env.server.trainer.schedules import LearningRatePlan, LrSchedule
from ml_trainer_env.server.trainer.starts import StartKind, StartSpec
from ml_trainer_env.server.trainer.state import FreshState, TrainingState, weights_hash
from ml_trainer_env.server.trainer.torch_learner import loss_and_accuracy

CLASSES, SIDE = 4, 8
ACCIDENTS = [kind for kind in StartKind if kind is not StartKind.FRESH]
NETWORKS = {
    f"{kind}-{activation}{'-norm' * norm}": NetworkSpec(
        kind, (1, SIDE, SIDE), CLASSES, depth=2, width=width, norm=norm, activation=activation
    )
    for kind, width in (("mlp", 32), ("cnn", 8))
    for activation in ("relu", "tanh")
    for norm in (False, True)
}
PLAIN = NETWORKS["mlp-relu"]

every_start = pytest.mark.parametrize("kind", ACCIDENTS)
every_network = pytest.mark.parametrize("network", NETWORKS)


def examples(input_scale: float = 1.0) -> Examples:
    source = np.random.default_rng(7)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = source.integers(0, CLASSES, count)
        images = source.integers(0, 90, (count, SIDE, SIDE), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 2)
            image[row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] += 60
        return images, labels.astype(np.int64)

    return Examples(
        "small", AugmentationKind.NONE, *draw(128), *draw(60), *draw(60), outputs=CLASSES, input_scale=input_scale
    )


@pytest.fixture
def data() -> TensorData:
    """Examples of which no start is remembered."""
    return TensorData(examples())


def started(
    spec: NetworkSpec, data: TensorData, kind: StartKind, severity: float = 0.5, trained_epochs: int = 1, seed: int = 3
) -> TrainingState:
    return started_state(FreshState(spec.name, seed, 0, StartSpec(kind, severity, trained_epochs)), data)


def fingerprint(state: TrainingState) -> tuple[str, tuple[tuple[str, bytes], ...]]:
    return weights_hash(state), tuple((name, array.tobytes()) for name, array in state.optimizer.items())


def loss_of(state: TrainingState, data: TensorData) -> float:
    network = build_network(find_network(state.network), state.weights)
    return loss_and_accuracy(network, data.train_inputs, data.train_labels, 64)[0]


def plan_of(config: TrainingConfig) -> LearningRatePlan:
    return LearningRatePlan(LrSchedule.CONSTANT, config.learning_rate, 0, 8)


# Values.


@given(kind=st.sampled_from(StartKind), severity=st.floats(0, 1), epochs=st.integers(0, 4))
@settings(max_examples=15, deadline=None)
def test_a_start_survives_as_text_and_as_facts_of_a_state(kind: StartKind, severity: float, epochs: int) -> None:
    start = StartSpec(kind, severity, epochs)
    fresh = FreshState("simple_mlp", 5, 0, start)

    assert StartSpec.parse(start.text) == start
    assert FreshState.from_state(fresh.to_state()) == fresh
    assert (fresh.start is None) == (kind is StartKind.FRESH)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "tired"}, "kind of start must be one of fresh, hot, momentum, dead, memorised, got 'tired'"),
        ({"kind": "hot", "severity": 1.5}, r"severity must be a number in \[0, 1\], got 1.5"),
        ({"kind": "hot", "trained_epochs": 61}, r"trained_epochs must be a whole number in \[0, 60\], got 61"),
    ],
)
def test_a_start_out_of_bounds_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StartSpec(**values)


def test_text_that_is_no_start_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be the text of a StartSpec, got '3'"):
        StartSpec.parse("3")


# Keys.


def test_keys_without_a_start_are_as_they_always_were() -> None:
    fresh, config = FreshState("simple_mlp", 3, 2), TrainingConfig()

    assert fresh_key(fresh) == "f90e5c945b965813768b9757cea43e69430de5b2bd77f000ceb761857d7fa4b7"
    assert fresh_key(FreshState("simple_mlp", 3, 2, StartSpec(StartKind.FRESH))) == fresh_key(fresh)
    assert dict(fresh.to_state().facts) == {"network": "simple_mlp", "seed": "3", "epoch": "2"}
    assert epoch_key("i", "b", config, 0.001, "d") == "4fcbf30eabf2f1dbcd56ff8dd1a363e7c3c51ea13be43dda5cdd2f25a52d5e53"


def test_every_part_of_a_start_is_part_of_the_key() -> None:
    starts = [None, StartSpec("hot"), StartSpec("dead"), StartSpec("hot", 0.6), StartSpec("hot", 0.5, 2)]

    assert len({fresh_key(FreshState("simple_mlp", 3, 0, start)) for start in starts}) == len(starts)


def test_another_limit_of_divergence_is_part_of_an_epochs_key() -> None:
    keys = [epoch_key("i", "b", TrainingConfig(), 0.001, "d", limit) for limit in (100.0, math.inf, 50.0)]

    assert len(set(keys)) == 3
    assert keys[0] == epoch_key("i", "b", TrainingConfig(), 0.001, "d")


# Laws.


@pytest.mark.slow
@every_network
@every_start
def test_a_start_is_finite_and_the_same_each_time(data: TensorData, network: str, kind: StartKind) -> None:
    one, again = started(NETWORKS[network], data, kind), started(NETWORKS[network], TensorData(examples()), kind)
    other = started(NETWORKS[network], data, kind, seed=4)

    assert all(np.isfinite(array).all() for array in (*one.weights.values(), *one.optimizer.values()))
    assert math.isfinite(loss_of(one, data))
    assert fingerprint(one) == fingerprint(again)
    assert fingerprint(one) != fingerprint(other)
    assert (one.epoch, one.seed) == (0, 3)


@every_start
@pytest.mark.parametrize("other", ["cnn_1d", "transformer", "next_token"])
def test_networks_for_sequences_and_tokens_have_starts_too(kind: StartKind, other: str) -> None:
    source = np.random.default_rng(5)
    if other == "next_token":
        tokens = [source.integers(0, 6, (count, 8)) for count in (64, 20, 20)]
        parts = [array for inputs in tokens for array in (inputs, np.roll(inputs, -1, 1))]
        told: dict[str, Any] = {"kind": "tokens", "target": "next_token", "vocabulary": 6, "outputs": 6}
        spec = NetworkSpec("transformer", (8, 6), 6, depth=1, width=8, examples="tokens", target="next_token")
    else:
        sequences = [source.normal(0, 1, (count, 8, 3)).astype(np.float32) for count in (64, 20, 20)]
        parts = [array for inputs in sequences for array in (inputs, (inputs[:, 0, 0] > 0).astype(np.int64))]
        told = {"kind": "sequences", "outputs": 2}
        spec = NetworkSpec(other, (8, 3), 2, depth=1, width=8, norm=True, examples="sequences")
    told["kind"], told["target"] = ExampleKind(told["kind"]), TargetKind(told.get("target", "classes"))
    data = TensorData(Examples("other", AugmentationKind.NONE, *parts, **told))

    state = started(spec, data, kind)

    assert all(np.isfinite(array).all() for array in (*state.weights.values(), *state.optimizer.values()))
    assert fingerprint(state) == fingerprint(started(spec, data, kind))
    assert fingerprint(state)[0] != weights_hash(initial_state(FreshState(spec.name, 3)))
    if kind is StartKind.HOT:
        assert loss_of(state, data) > math.log(data.outputs)
    if kind is StartKind.DEAD:
        (units,) = outputs_of_activations(state, data)
        assert float((units == 0).float().mean((0, 1 if other != "cnn_1d" else 2)).gt(0.99).sum()) >= 2


@every_start
@pytest.mark.parametrize("severity", [0.0, 1.0])
@pytest.mark.parametrize(("input_scale", "initial_scale"), [(0.05, 0.2), (5.0, 4.0)])
def test_extreme_scales_give_finite_starts(
    kind: StartKind, severity: float, input_scale: float, initial_scale: float
) -> None:
    spec = NetworkSpec("mlp", (1, SIDE, SIDE), CLASSES, depth=4, width=16, initial_scale=initial_scale)
    scaled = TensorData(examples(input_scale))

    for epochs in (0, 1):
        state = started(spec, scaled, kind, severity, epochs)
        assert all(np.isfinite(array).all() for array in (*state.weights.values(), *state.optimizer.values()))
        assert math.isfinite(loss_of(state, scaled))


@every_start
@pytest.mark.parametrize("network", ["mlp-relu", "cnn-tanh-norm"])
def test_the_first_epoch_computes_the_start_and_chunks_and_replays_agree(
    data: TensorData, network: str, kind: StartKind
) -> None:
    spec = NETWORKS[network]
    fresh = FreshState(spec.name, 3, 0, StartSpec(kind))
    config = TrainingConfig(dropout=0.2)
    whole, _ = advance(started_state(fresh, data), config, plan_of(config), data, 2, diverged_above=math.inf)

    job = EpochSettings(config, plan_of(config), math.inf)
    first = train_epoch(fresh.to_state(), job, data, lambda: False)
    assert first.state is not None
    second = train_epoch(first.state, job, data, lambda: False)
    assert second.state is not None

    assert fingerprint(TrainingState.from_state(second.state)) == fingerprint(whole)


@every_start
def test_training_does_not_change_a_remembered_start(data: TensorData, kind: StartKind) -> None:
    config = TrainingConfig(optimizer=OptimizerKind.SGD)
    one = started(PLAIN, data, kind)
    before = fingerprint(one)

    advance(one, config, plan_of(config), data, 1, diverged_above=math.inf)

    assert started(PLAIN, data, kind) is one
    assert fingerprint(one) == before


def test_only_the_last_starts_are_remembered(data: TensorData) -> None:
    first = started(PLAIN, data, StartKind.DEAD, seed=0)
    for seed in range(1, 5):
        started(PLAIN, data, StartKind.DEAD, seed=seed)

    again = started(PLAIN, data, StartKind.DEAD, seed=0)

    assert again is not first
    assert fingerprint(again) == fingerprint(first)


@every_start
def test_global_random_state_and_data_are_left_as_they_were(data: TensorData, kind: StartKind) -> None:
    before, labels, inputs = torch.get_rng_state(), data.train_labels.clone(), data.train_inputs.clone()

    started(PLAIN, data, kind)

    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(data.train_labels, labels)
    assert torch.equal(data.train_inputs, inputs)


def test_a_change_on_the_way_does_not_change_the_start(data: TensorData) -> None:
    changed = TensorData(ChangedExamples(examples(), Change("drift", 1.0, 3)))

    for kind in ACCIDENTS:
        assert fingerprint(started(PLAIN, changed, kind)) == fingerprint(started(PLAIN, data, kind))


@pytest.mark.parametrize("kind", [StartKind.HOT, StartKind.MEMORISED])
def test_a_start_stops_before_the_next_batch(data: TensorData, kind: StartKind) -> None:
    fresh, asked = FreshState(PLAIN.name, 3, 0, StartSpec(kind)), []

    with pytest.raises(Interrupted):
        started_state(fresh, data, lambda: asked.append(1) or len(asked) == 4)

    assert len(asked) == 4


def test_without_a_start_the_weights_are_those_of_the_seed(data: TensorData) -> None:
    fresh = FreshState(PLAIN.name, 3)

    assert fingerprint(started_state(fresh, data)) == fingerprint(initial_state(fresh))


def test_a_network_without_activations_has_no_units_to_kill(data: TensorData, monkeypatch: pytest.MonkeyPatch) -> None:
    build: Callable[..., nn.Module] = accidents.build_network
    monkeypatch.setattr(
        accidents,
        "build_network",
        lambda *args: nn.Sequential(*[m for m in build(*args) if not isinstance(m, nn.ReLU)]),
    )

    with pytest.raises(ValueError, match="in front of an activation module"):
        started(PLAIN, data, StartKind.DEAD, trained_epochs=0)


# What is wrong.


def outputs_of_activations(state: TrainingState, data: TensorData) -> list[torch.Tensor]:
    network, found = build_network(find_network(state.network), state.weights), []
    for module in network.modules():
        if isinstance(module, nn.ReLU | nn.Tanh):
            module.register_forward_hook(lambda _module, _inputs, output: found.append(output.clone()))
    network.eval()
    with torch.inference_mode():
        network(data.train_inputs)
    return found


@every_network
@pytest.mark.parametrize(("severity", "at_least"), [(0.8, 0.45), (1.0, 0.9)])
def test_many_units_of_a_dead_start_ignore_the_example(
    data: TensorData, network: str, severity: float, at_least: float
) -> None:
    layers = outputs_of_activations(started(NETWORKS[network], data, StartKind.DEAD, severity), data)

    for units in layers:
        flat = (units.abs() > 0.98) if "tanh" in network else (units == 0)
        assert float(flat.float().mean()) >= at_least


@every_network
@pytest.mark.parametrize("severity", [0.0, 1.0])
def test_the_loss_of_a_hot_start_is_above_chance(data: TensorData, network: str, severity: float) -> None:
    assert loss_of(started(NETWORKS[network], data, StartKind.HOT, severity), data) > math.log(CLASSES)


@every_network
def test_blown_momentum_ruins_weights_unless_the_optimizer_changes(data: TensorData, network: str) -> None:
    state = started(NETWORKS[network], data, StartKind.MOMENTUM, severity=0.0, trained_epochs=2)
    sgd, adamw = TrainingConfig(optimizer="sgd", batch_size=32), TrainingConfig(optimizer="adamw", batch_size=32)

    _, (kept,) = advance(state, sgd, plan_of(sgd), data, diverged_above=math.inf)
    _, (dropped,) = advance(state, adamw, plan_of(adamw), data)

    before = loss_of(state, data)
    assert before < math.log(CLASSES)
    assert not kept.val_loss < 1.3 * before
    assert dropped.val_loss < 1.2 * before


@every_network
def test_a_memorised_start_knows_wrong_labels_and_little_else(data: TensorData, network: str) -> None:
    state = started(NETWORKS[network], data, StartKind.MEMORISED, severity=1.0, trained_epochs=0)
    built = build_network(find_network(state.network), state.weights)
    inputs, wrong_labels = mislabelled_fifth(data, 1.0, generator(Purpose.START, 3, 0))

    _, known = loss_and_accuracy(built, inputs, wrong_labels, 64)
    _, validation = loss_and_accuracy(built, data.validation_inputs, data.validation_labels, 64)

    assert len(inputs) == len(data.train_labels) // 5
    assert known > 0.5
    assert validation < 0.35
