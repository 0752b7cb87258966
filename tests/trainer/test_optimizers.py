"""Optimizers make the very steps of torch's classes, and need nothing that a worker would have to wait for."""

import subprocess
import sys
from collections.abc import Mapping

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ml_trainer_env.server.trainer.config import OptimizerKind, TrainingConfig
from ml_trainer_env.server.trainer.data import TensorData
from ml_trainer_env.server.trainer.engine import initial_state
from ml_trainer_env.server.trainer.network_specs import NETWORKS
from ml_trainer_env.server.trainer.networks import build_network
from ml_trainer_env.server.trainer.optimizers import Optimizer, build_optimizer
from ml_trainer_env.server.trainer.state import FreshState, TrainingState

RATE, DECAY, STEPS = 0.01, 0.02, 5

TRAINS = """
import sys
import numpy as np
from ml_trainer_env.server.trainer.config import TrainingConfig
from ml_trainer_env.server.trainer.data import TensorData
from ml_trainer_env.server.trainer.engine import advance, initial_state
from ml_trainer_env.server.trainer.examples import Examples
from ml_trainer_env.server.trainer.kinds import AugmentationKind
from ml_trainer_env.server.trainer.schedules import LearningRatePlan, LrSchedule
from ml_trainer_env.server.trainer.state import FreshState

images, labels = np.zeros((64, 28, 28), np.uint8), np.arange(64) % 10
data = TensorData(Examples("x", AugmentationKind.CLOTHES, images, labels, images, labels, images, labels))
for optimizer in ("sgd", "adam", "adamw"):
    config = TrainingConfig(optimizer=optimizer, augmentation=True, dropout=0.3)
    plan = LearningRatePlan(LrSchedule.COSINE, config.learning_rate, 0, 2, 0)
    advance(initial_state(FreshState("small_cnn", seed=3)), config, plan, data, epochs=2)
print("torch._dynamo" in sys.modules, "triton" in sys.modules)
"""


def torchs_own(kind: OptimizerKind, network: torch.nn.Module) -> torch.optim.Optimizer:
    parameters = network.parameters()
    match kind:
        case OptimizerKind.SGD:
            return torch.optim.SGD(parameters, lr=RATE, momentum=0.9, weight_decay=DECAY, fused=True)
        case OptimizerKind.ADAM:
            return torch.optim.Adam(parameters, lr=RATE, weight_decay=DECAY, fused=True)
        case OptimizerKind.ADAMW:
            return torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY, fused=True)


def train(network: torch.nn.Module, optimizer: Optimizer | torch.optim.Optimizer, data: TensorData, steps: int) -> None:
    for images, labels in zip(data.train_inputs.split(16), data.train_labels.split(16), strict=True):
        if steps == 0:
            return
        network.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
        steps -= 1


def weights(network: torch.nn.Module) -> dict[str, bytes]:
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("kind", OptimizerKind)
@pytest.mark.parametrize("name", list(NETWORKS))
def test_steps_are_those_of_torchs_classes_to_the_bit(
    tensors: Mapping[str, TensorData], name: str, kind: OptimizerKind
) -> None:
    start = initial_state(FreshState(name, seed=3))
    config = TrainingConfig(optimizer=kind, weight_decay=DECAY)
    spec = NETWORKS[name]
    theirs, ours = build_network(spec, start.weights), build_network(spec, start.weights)
    their_optimizer, our_optimizer = torchs_own(kind, theirs), build_optimizer(ours, config, RATE, start)

    train(theirs, their_optimizer, tensors[name], STEPS)
    train(ours, our_optimizer, tensors[name], STEPS)

    assert weights(ours) == weights(theirs) != weights(build_network(spec, start.weights))
    their_buffers = {
        f"{parameter}/{buffer}": value.contiguous().numpy().tobytes()
        for parameter, tensor in theirs.named_parameters()
        for buffer, value in their_optimizer.state[tensor].items()
    }
    our_buffers = {key: array.tobytes() for key, array in our_optimizer.arrays().items()}
    assert our_buffers == their_buffers
    assert list(our_buffers) == list(their_buffers)


@pytest.mark.parametrize("kind", OptimizerKind)
def test_buffers_of_its_kind_alone_are_taken_and_copied(tensors: Mapping[str, TensorData], kind: OptimizerKind) -> None:
    name = "simple_mlp"
    fresh = initial_state(FreshState(name, seed=3))
    network, config = build_network(NETWORKS[name], fresh.weights), TrainingConfig(optimizer=kind)
    first = build_optimizer(network, config, RATE, fresh)
    train(network, first, tensors[name], 2)
    kept = {key: array.copy() for key, array in first.arrays().items()}
    trained = TrainingState(name, fresh.weights, kept, kind, 1, 3)

    for other in OptimizerKind:
        again = build_optimizer(network, TrainingConfig(optimizer=other), RATE, trained)
        assert set(again.arrays()) == (set(kept) if other == kind else set())

    again = build_optimizer(network, config, RATE, trained)
    before = {key: array.copy() for key, array in again.arrays().items()}
    train(network, again, tensors[name], 1)
    assert all(np.array_equal(before[key], kept[key]) for key in kept)
    assert any(not np.array_equal(array, kept[key]) for key, array in again.arrays().items())


@pytest.mark.slow
def test_training_does_not_load_torchs_compiler() -> None:
    ended = subprocess.run([sys.executable, "-c", TRAINS], capture_output=True, text=True, check=True)

    assert ended.stdout.split() == ["False", "False"]
