"""The networks: their sizes, and that building one draws nothing from anywhere."""

import pickle

import pytest
import torch

from ml_trainer_env.server.trainer.engine import initial_state
from ml_trainer_env.server.trainer.kinds import NetworkName
from ml_trainer_env.server.trainer.networks import build_network, parameter_count
from ml_trainer_env.server.trainer.state import FreshState, TrainingState, weights_hash
from ml_trainer_env.server.tuning.tasks import TASKS, Task


def test_the_perceptron_has_101770_parameters() -> None:
    assert parameter_count(NetworkName.SIMPLE_MLP) == 101_770


def test_the_small_network_has_200k_parameters_within_a_tenth() -> None:
    assert parameter_count(NetworkName.SMALL_CNN) == pytest.approx(200_000, rel=0.1)


def test_the_deeper_network_has_500k_parameters_within_a_tenth() -> None:
    assert parameter_count(NetworkName.DEEPER_CNN) == pytest.approx(500_000, rel=0.1)


def test_the_perceptron_with_batch_norm_has_269834_parameters() -> None:
    assert parameter_count(NetworkName.BATCH_NORM_MLP) == 269_834


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.id)
def test_a_task_states_its_networks_true_size(task: Task) -> None:
    assert task.parameter_count == parameter_count(task.network)


@pytest.mark.parametrize("network", list(NetworkName))
def test_a_state_holds_all_that_its_network_needs(network: NetworkName) -> None:
    state = initial_state(FreshState(network, 0))
    side, channels = (32, 3) if network is NetworkName.DEEPER_CNN else (28, 1)

    logits = build_network(network, state.weights).eval()(torch.zeros(2, channels, side, side))

    assert logits.shape == (2, 10)


def test_a_state_survives_pickling_and_its_arrays_cannot_be_written() -> None:
    state = initial_state(FreshState(NetworkName.SIMPLE_MLP, 0))

    copy: TrainingState = pickle.loads(pickle.dumps(state))

    assert weights_hash(copy) == weights_hash(state)
    with pytest.raises(ValueError, match="read-only"):
        next(iter(state.weights.values()))[...] = 0


def test_one_bit_of_one_weight_changes_the_hash() -> None:
    state = initial_state(FreshState(NetworkName.SIMPLE_MLP, 0))
    name, array = next(iter(state.weights.items()))
    touched = array.copy()
    touched.view("uint32").flat[0] ^= 1

    assert weights_hash(TrainingState(state.network, {**state.weights, name: touched}, {}, "", 0, 0)) != weights_hash(
        state
    )
