"""Networks built from specifications: the laws that hold for every specification, and the four that have a name."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_networks import batch_for, examples_for, specs
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_trainer_env.native import Library
from ml_trainer_env.server.trainer.arrays import State
from ml_trainer_env.server.trainer.config import TrainingConfig
from ml_trainer_env.server.trainer.data import TensorData
from ml_trainer_env.server.trainer.engine import advance, held_out_accuracy, initial_state
from ml_trainer_env.server.trainer.errors import Interrupted
from ml_trainer_env.server.trainer.kinds import NetworkKind
from ml_trainer_env.server.trainer.network_specs import NETWORKS, NetworkSpec, find_network
from ml_trainer_env.server.trainer.networks import build_network, draw_weights
from ml_trainer_env.server.trainer.randomness import Purpose, generator
from ml_trainer_env.server.trainer.schedules import LearningRatePlan, LrSchedule
from ml_trainer_env.server.trainer.state import FreshState, TrainingState, weights_hash

law = settings(max_examples=12, deadline=None)

PARAMETERS = {
    "simple_mlp": ["1.weight", "1.bias", "4.weight", "4.bias"],
    "small_cnn": [f"{layer}.{part}" for layer in (0, 3, 7, 10) for part in ("weight", "bias")],
    "deeper_cnn": [
        *("0.weight", "1.weight", "1.bias", "3.weight", "5.weight", "5.bias", "7.weight", "9.weight", "9.bias"),
        *("12.weight", "12.bias", "15.weight", "15.bias"),
    ],
    "batch_norm_mlp": [
        *("1.weight", "2.weight", "2.bias", "5.weight", "6.weight", "6.bias", "9.weight", "9.bias"),
    ],
}
"""Parameters of the networks in their order. Stored states have these names, so they never change."""


def fingerprint(state: TrainingState) -> tuple[str, list[tuple[str, bytes]]]:
    return weights_hash(state), [(name, array.tobytes()) for name, array in state.optimizer.items()]


configs = st.builds(
    TrainingConfig,
    optimizer=st.sampled_from(["sgd", "adam", "adamw"]),
    batch_size=st.sampled_from([32, 64]),
    dropout=st.sampled_from([0.0, 0.3]),
    augmentation=st.booleans(),
)


@law
@given(spec=specs(), config=configs, train=st.integers(1, 70))
def test_any_network_is_trained_alike_in_one_run_in_two_and_again(
    kernels: Library | None, spec: NetworkSpec, config: TrainingConfig, train: int
) -> None:
    data, start = TensorData(examples_for(spec, train), kernels=kernels), initial_state(FreshState(spec.name, seed=3))
    plan = LearningRatePlan(LrSchedule.COSINE, 0.001, 0, 3)

    whole, metrics = advance(start, config, plan, data, epochs=2)
    again, _ = advance(initial_state(FreshState(spec.name, seed=3)), config, plan, data, epochs=2)
    half, (first,) = advance(start, config, plan, data)
    assert repr(first) == repr(metrics[0])
    if not first.diverged:
        stored = pickle.loads(pickle.dumps(half))
        half, _ = advance(stored, config, plan, data)

    assert fingerprint(half) == fingerprint(whole) == fingerprint(again)
    assert held_out_accuracy(whole, data) == held_out_accuracy(again, data)
    assert fingerprint(whole) == fingerprint(again)  # an evaluation changes nothing


@law
@given(spec=specs(), config=configs)
def test_an_interrupted_epoch_leaves_no_trace_in_any_network(
    kernels: Library | None, spec: NetworkSpec, config: TrainingConfig
) -> None:
    data, start = TensorData(examples_for(spec), kernels=kernels), initial_state(FreshState(spec.name, seed=3))
    plan = LearningRatePlan(LrSchedule.COSINE, 0.001, 0, 3)
    whole, _ = advance(start, config, plan, data)
    before = fingerprint(start)

    with pytest.raises(Interrupted):
        advance(start, config, plan, data, interrupted=iter([False, True]).__next__)

    assert fingerprint(start) == before
    assert fingerprint(advance(start, config, plan, data)[0]) == fingerprint(whole)


@law
@given(spec=specs(), config=configs)
def test_the_state_of_any_network_survives_as_plain_arrays(
    kernels: Library | None, spec: NetworkSpec, config: TrainingConfig
) -> None:
    data, start = TensorData(examples_for(spec), kernels=kernels), initial_state(FreshState(spec.name, seed=3))
    plan = LearningRatePlan(LrSchedule.COSINE, 0.001, 0, 3)
    state, _ = advance(start, config, plan, data)

    plain = state.to_state()
    copy = TrainingState.from_state(State({name: array.copy() for name, array in plain.arrays.items()}, plain.facts))

    assert fingerprint(copy) == fingerprint(state)
    assert (copy.network, copy.optimizer_kind, copy.epoch, copy.seed) == (spec.name, config.optimizer, 1, 3)
    assert find_network(copy.network) == spec


@law
@given(spec=specs())
def test_without_dropout_and_batch_norm_training_and_evaluation_compute_the_same(spec: NetworkSpec) -> None:
    if spec.norm and spec.kind is not NetworkKind.TRANSFORMER:
        spec = replace(spec, norm=False)
    weights = draw_weights(spec, generator(Purpose.WEIGHTS, 1, 0))
    network, inputs = build_network(spec, weights, dropout=0.0, source=None), batch_for(spec, 5)

    assert torch.equal(network.train()(inputs), network.eval()(inputs))


@law
@given(spec=specs((NetworkKind.TRANSFORMER,)), place=st.integers(0, 11), shift=st.integers(1, 11))
def test_a_later_token_does_not_change_what_is_predicted_before_it(spec: NetworkSpec, place: int, shift: int) -> None:
    vocabulary = spec.inputs[1] + 1
    spec = replace(
        spec,
        examples="tokens",  # type: ignore[arg-type]
        target="next_token",  # type: ignore[arg-type]
        inputs=(spec.inputs[0], vocabulary),
        outputs=vocabulary,
    )
    network = build_network(spec, draw_weights(spec, generator(Purpose.WEIGHTS, 1, 0))).eval()
    inputs, place = batch_for(spec, 3), place % spec.inputs[0]
    changed = inputs.clone()
    changed[:, place:] = (changed[:, place:] + shift) % vocabulary

    assert torch.equal(network(inputs)[:, :place], network(changed)[:, :place])


@law
@given(spec=specs(), count=st.integers(1, 40))
def test_any_network_takes_any_batch_and_gives_finite_logits_and_gradients(spec: NetworkSpec, count: int) -> None:
    weights = draw_weights(spec, generator(Purpose.WEIGHTS, 1, 0))
    inputs = batch_for(spec, count)
    network = build_network(spec, weights, dropout=0.3, source=torch.Generator().manual_seed(1))

    logits = network.train()(inputs)
    logits.sum().backward()

    form = (count, spec.inputs[0], spec.outputs) if spec.target == "next_token" else (count, spec.outputs)
    assert logits.shape == network.eval()(inputs).shape == form
    assert logits.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@law
@given(spec=specs(), scale=st.floats(0.2, 4.0))
def test_the_initial_scale_scales_weights_and_nothing_else(spec: NetworkSpec, scale: float) -> None:
    plain = draw_weights(replace(spec, initial_scale=1.0), generator(Purpose.WEIGHTS, 1, 0))
    scaled = draw_weights(replace(spec, initial_scale=scale), generator(Purpose.WEIGHTS, 1, 0))

    assert list(scaled) == list(plain)
    for name, array in scaled.items():
        by = np.float32(scale) if array.ndim > 1 else np.float32(1)
        np.testing.assert_array_equal(array, plain[name] * by)


@law
@given(spec=specs())
def test_the_parameter_count_is_that_of_the_network_that_is_built(spec: NetworkSpec) -> None:
    assert spec.parameter_count == sum(parameter.numel() for parameter in build_network(spec).parameters())


@law
@given(spec=specs())
def test_a_state_has_what_its_network_needs_and_building_another_time_changes_nothing(spec: NetworkSpec) -> None:
    weights = draw_weights(spec, generator(Purpose.WEIGHTS, 1, 0))
    network = build_network(spec, weights)

    assert {name: array.tobytes() for name, array in weights.items()} == {
        name: tensor.contiguous().numpy().tobytes() for name, tensor in network.state_dict().items()
    }


def test_a_batch_of_one_leaves_the_running_statistics_as_they_are() -> None:
    spec = NETWORKS["batch_norm_mlp"]
    weights = draw_weights(spec, generator(Purpose.WEIGHTS, 1, 0))
    network = build_network(spec, weights).train()

    network(torch.randn(1, 1, 28, 28))

    after = {name: tensor.numpy() for name, tensor in network.state_dict().items() if "running" in name}
    assert all(np.array_equal(array, weights[name]) for name, array in after.items())


def test_a_network_is_not_trained_on_examples_of_another_form() -> None:
    spec = NetworkSpec(NetworkKind.MLP, (4,), 3, depth=1, width=4, examples="tables")  # type: ignore[arg-type]
    data = TensorData(examples_for(replace(spec, inputs=(5,))))
    plan = LearningRatePlan(LrSchedule.CONSTANT, 0.001, 0, 1)

    with pytest.raises(ValueError, match=r"is for tables \(4,\) with 3 classes, and the examples are tables \(5,\)"):
        advance(initial_state(FreshState(spec.name, 0)), TrainingConfig(), plan, data)


@pytest.mark.parametrize("kind", [NetworkKind.CNN_1D, NetworkKind.TRANSFORMER])
@pytest.mark.parametrize("examples", ["sequences", "tokens"])
def test_networks_for_sequences_and_tokens_learn(kind: NetworkKind, examples: str) -> None:
    spec = NetworkSpec(
        kind,
        (8, 5),
        2,
        depth=2,
        width=16,
        norm=True,
        examples=examples,  # type: ignore[arg-type]
    )
    noise, middle = examples_for(spec, train=200, validation=100), 3.0 if examples == "sequences" else 2.0
    labels = {
        f"{part}_labels": (inputs.reshape(len(inputs), -1).mean(1) > middle).astype(np.int64)
        for part, inputs in (
            ("train", noise.train_inputs),
            ("validation", noise.validation_inputs),
            ("test", noise.test_inputs),
        )
    }
    data, start = TensorData(replace(noise, **labels)), initial_state(FreshState(spec.name, 0))
    plan = LearningRatePlan(LrSchedule.CONSTANT, 0.01, 0, 8)

    _, metrics = advance(start, TrainingConfig(batch_size=32), plan, data, epochs=8)

    assert metrics[-1].val_accuracy > 0.8


def test_the_loss_and_accuracy_of_next_tokens_are_means_over_all_positions() -> None:
    spec = NetworkSpec(
        NetworkKind.TRANSFORMER,
        (6, 4),
        4,
        depth=1,
        width=8,
        norm=True,
        examples="tokens",  # type: ignore[arg-type]
        target="next_token",  # type: ignore[arg-type]
    )
    data = TensorData(examples_for(spec, train=5, validation=7), evaluation_batch=3)
    still = LearningRatePlan(LrSchedule.CONSTANT, 1e-12, 0, 1)
    state, (metrics,) = advance(initial_state(FreshState(spec.name, 0)), TrainingConfig(), still, data)

    logits = build_network(spec, state.weights).eval()(data.validation_inputs).detach()

    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), data.validation_labels, reduction="none")
    assert losses.shape == (7, 6)
    assert metrics.val_loss == pytest.approx(float(losses.mean()), rel=1e-5)
    assert metrics.val_accuracy == int((logits.argmax(2) == data.validation_labels).sum()) / (7 * 6)


# The networks that have a name.


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_named_network_keeps_the_names_and_the_order_of_its_parameters(name: str) -> None:
    network = build_network(find_network(name))

    assert [parameter for parameter, _ in network.named_parameters()] == PARAMETERS[name]


@pytest.mark.parametrize(
    ("name", "count"),
    [("simple_mlp", 101_770), ("small_cnn", 194_290), ("deeper_cnn", 455_306), ("batch_norm_mlp", 269_834)],
)
def test_a_named_network_keeps_its_size(name: str, count: int) -> None:
    assert NETWORKS[name].parameter_count == count


def test_a_state_survives_pickling_and_its_arrays_cannot_be_written() -> None:
    state = initial_state(FreshState("simple_mlp", 0))

    copy: TrainingState = pickle.loads(pickle.dumps(state))

    assert weights_hash(copy) == weights_hash(state)
    with pytest.raises(ValueError, match="read-only"):
        next(iter(state.weights.values()))[...] = 0


def test_one_bit_of_one_weight_changes_the_hash() -> None:
    state = initial_state(FreshState("simple_mlp", 0))
    name, array = next(iter(state.weights.items()))
    touched = array.copy()
    touched.view("uint32").flat[0] ^= 1

    assert weights_hash(TrainingState(state.network, {**state.weights, name: touched}, {}, "", 0, 0)) != weights_hash(
        state
    )
