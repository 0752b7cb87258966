"""The diagnostic figures of an epoch: what they measure, and that measuring changes nothing."""

import copy
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from drawn_networks import batch_for, examples_for, specs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ml_trainer_env.server.trainer.config import OptimizerKind, TrainingConfig
from ml_trainer_env.server.trainer.data import TensorData
from ml_trainer_env.server.trainer.diagnostics import DeadUnits, StepNorms, measured_steps, watch_units
from ml_trainer_env.server.trainer.engine import advance, initial_state
from ml_trainer_env.server.trainer.kinds import Activation, NetworkKind
from ml_trainer_env.server.trainer.metrics import (
    DIAGNOSTIC_FIGURES,
    EPOCH_FIGURES,
    FIRST_EPOCH_FIGURES,
    EpochMetrics,
    are_recorded,
)
from ml_trainer_env.server.trainer.network_specs import NetworkSpec
from ml_trainer_env.server.trainer.networks import build_network
from ml_trainer_env.server.trainer.optimizers import build_optimizer
from ml_trainer_env.server.trainer.schedules import LearningRatePlan, LrSchedule
from ml_trainer_env.server.trainer.state import FreshState, TrainingState

law = settings(max_examples=20, deadline=None)

TABLE = NetworkSpec(NetworkKind.MLP, (4,), 3, depth=1, width=4, examples="tables")  # type: ignore[arg-type]


def plan_of(rate: float) -> LearningRatePlan:
    return LearningRatePlan(LrSchedule.CONSTANT, rate, 0, 1)


def joined(arrays: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([array.astype(np.float64).ravel() for array in arrays.values()])


@given(count=st.integers(1, 2_000))
def test_the_measured_steps_are_few_and_spread_from_the_first_to_the_last(count: int) -> None:
    steps = sorted(measured_steps(count))

    assert (steps[0], steps[-1], len(steps)) == (0, count - 1, min(count, 4))
    gaps = [after - before for before, after in pairwise(steps)]
    assert max(gaps, default=1) - min(gaps, default=1) <= 1


@law
@given(spec=specs(), optimizer=st.sampled_from(OptimizerKind))
def test_measuring_a_step_changes_no_bit_of_it(spec: NetworkSpec, optimizer: OptimizerKind) -> None:
    start, labels = initial_state(FreshState(spec.name, 3)), torch.zeros(6, dtype=torch.int64)

    def step(measured: bool) -> dict[str, bytes]:
        network = build_network(spec, start.weights).train()
        norms, made = StepNorms(network), build_optimizer(network, TrainingConfig(optimizer=optimizer), 0.01, start)
        logits = network(batch_for(spec, 6))
        nn.functional.cross_entropy(logits.flatten(1)[:, : spec.outputs], labels).backward()
        if measured:
            norms.before_step()
        made.step()
        if measured:
            norms.after_step()
        return {name: tensor.contiguous().numpy().tobytes() for name, tensor in network.state_dict().items()}

    assert step(True) == step(False)


def test_the_figures_of_an_epoch_of_one_step_are_those_of_the_step() -> None:
    data, start = TensorData(examples_for(TABLE, train=30)), initial_state(FreshState(TABLE.name, 0))
    config = TrainingConfig(optimizer=OptimizerKind.SGD, batch_size=32)

    after, (metrics,) = advance(start, config, plan_of(0.1), data)

    change = joined(dict(after.weights)) - joined(dict(start.weights))
    assert metrics.initial_loss == pytest.approx(metrics.train_loss, rel=1e-6)
    assert metrics.gradient_norm == pytest.approx(np.linalg.norm(change) / 0.1, rel=1e-4)
    assert metrics.update_ratio == pytest.approx(
        np.linalg.norm(change) / np.linalg.norm(joined(dict(start.weights))), rel=1e-4
    )


@law
@given(spec=specs())
def test_every_network_has_all_figures_and_a_higher_rate_changes_more(spec: NetworkSpec) -> None:
    spec = replace(spec, initial_scale=1.0)
    data, start = TensorData(examples_for(spec, train=30)), initial_state(FreshState(spec.name, 0))

    (low,), (high,) = (advance(start, TrainingConfig(), plan_of(rate), data)[1] for rate in (1e-5, 1e-3))

    assert low.initial_loss == high.initial_loss
    assert low.gradient_norm == high.gradient_norm  # one step
    assert 0 < (low.update_ratio or 0) < (high.update_ratio or 0)
    assert 0 <= (low.dead_units if low.dead_units is not None else -1) <= 1


@pytest.mark.parametrize("activation", Activation)
@pytest.mark.parametrize(("kind", "units"), [(NetworkKind.CNN_1D, 4), (NetworkKind.TRANSFORMER, 8)])
def test_a_unit_whose_output_is_always_saturated_is_dead(kind: NetworkKind, units: int, activation: Activation) -> None:
    spec = NetworkSpec(kind, (6, 3), 3, depth=2, width=4, activation=activation, examples="sequences")  # type: ignore[arg-type]
    data, state = TensorData(examples_for(spec)), initial_state(FreshState(spec.name, 0))
    name = {NetworkKind.CNN_1D: "1.bias", NetworkKind.TRANSFORMER: "2.perceptron.0.bias"}[kind]
    bias = state.weights[name].copy()
    assert bias.shape == (units,)
    bias[1:3] = -100.0
    broken = TrainingState(state.network, {**state.weights, name: bias}, {}, "", 0, 0)

    (alive,), (metrics,) = (advance(one, TrainingConfig(), plan_of(1e-9), data)[1] for one in (state, broken))

    assert metrics.dead_units == pytest.approx((alive.dead_units or 0) + 2 / (2 * units))


def test_units_are_counted_over_all_batches_and_hooks_are_removed() -> None:
    network = nn.Sequential(nn.ReLU())
    with watch_units(network, 1) as dead:
        network(torch.tensor([[1.0, -1.0, -1.0]]))
        network(torch.tensor([[-1.0, -1.0, 2.0]]))
    network(torch.tensor([[1.0, 1.0, 1.0]]))

    assert dead.share == 1 / 3
    assert DeadUnits(1).share is None


def test_saturated_units_of_either_sign_are_dead_and_missing_numbers_are_not() -> None:
    network, dead = nn.Tanh(), DeadUnits(1)

    def outputs(*rows: list[float]) -> Tensor:
        return torch.tensor(rows)

    dead.observe(network, None, outputs([0.999, -0.999, 0.5, math.nan], [0.999, 0.999, 1.0, 1.0]))

    assert dead.share == 0.5


def test_figures_survive_being_recorded_and_old_records_lack_the_new_ones() -> None:
    metrics = EpochMetrics(1.0, 0.5, 1.1, 0.4, 0.001, diverged=False, initial_loss=2.0, gradient_norm=0.1)
    figures = metrics.to_figures()
    old = {name: figures[name] for name in FIRST_EPOCH_FIGURES}

    assert tuple(figures) == EPOCH_FIGURES == (*FIRST_EPOCH_FIGURES, *DIAGNOSTIC_FIGURES)
    assert EpochMetrics.from_figures(copy.deepcopy(figures)) == metrics
    assert EpochMetrics.from_figures(old) == replace(metrics, initial_loss=None, gradient_norm=None)
    assert are_recorded(old, EPOCH_FIGURES)
    assert are_recorded(figures, EPOCH_FIGURES)
    assert not are_recorded({**old, "dead_units": 0.0}, EPOCH_FIGURES)
    assert not are_recorded({"loss": 1.0}, EPOCH_FIGURES)
    assert are_recorded({"loss": 1.0}, ("loss",))


@pytest.mark.parametrize("together", [64, 100, 300])
def test_dead_units_are_counted_on_the_first_256_examples_however_they_are_evaluated(together: int) -> None:
    outputs = torch.zeros(300, 2)
    outputs[255, 0] = outputs[256, 1] = 1.0
    dead, activation = DeadUnits(1), nn.ReLU()

    for part in outputs.split(together):
        dead.observe(activation, None, part)

    assert dead.share == 0.5
