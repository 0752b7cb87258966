"""The training engine: pure functions from states to states.

It uses no clock, file, connection, log or global random state. An epoch is a function of (state, configuration, rate
plan, data) alone. A longer run is a chain of epochs. So the result does not depend on how a run is split into calls.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ml_trainer_env.server.trainer.augmentation import augmented
from ml_trainer_env.server.trainer.config import DIVERGED_LOSS, TrainingConfig
from ml_trainer_env.server.trainer.data import TensorData
from ml_trainer_env.server.trainer.diagnostics import StepNorms, measured_steps, watch_units
from ml_trainer_env.server.trainer.errors import Interrupted
from ml_trainer_env.server.trainer.kinds import NetworkKind
from ml_trainer_env.server.trainer.metrics import EpochMetrics
from ml_trainer_env.server.trainer.network_specs import NetworkSpec, find_network
from ml_trainer_env.server.trainer.networks import build_network, draw_weights
from ml_trainer_env.server.trainer.optimizers import Optimizer, build_optimizer
from ml_trainer_env.server.trainer.randomness import Purpose, generator
from ml_trainer_env.server.trainer.schedules import LearningRatePlan
from ml_trainer_env.server.trainer.state import FreshState, TrainingState

__all__ = [
    "advance",
    "arrays_of",
    "held_out_accuracy",
    "held_out_loss_and_accuracy",
    "initial_state",
    "loss_and_accuracy",
    "mean_loss",
    "network_for",
    "never",
    "train_batches",
]

_GATHERED_TOGETHER = 512
"""Number of examples that one operation gathers and transforms. It is large enough to be cheap, small enough for the
cache, and a multiple of every batch size."""


def never() -> bool:
    """An `interrupted` that never stops the training."""
    return False


def initial_state(fresh: FreshState) -> TrainingState:
    """Draw the weights of an initial state. Its optimizer is new, and its start is left out; see `accidents`."""
    source = generator(Purpose.WEIGHTS, fresh.seed, fresh.epoch)
    weights = draw_weights(find_network(fresh.network), source)
    return TrainingState(fresh.network, weights, {}, "", fresh.epoch, fresh.seed)


def advance(
    state: TrainingState,
    config: TrainingConfig,
    plan: LearningRatePlan,
    data: TensorData,
    epochs: int = 1,
    *,
    interrupted: Callable[[], bool] = never,
    diverged_above: float = DIVERGED_LOSS,
) -> tuple[TrainingState, tuple[EpochMetrics, ...]]:
    """Train for some epochs, or until one diverges.

    Args:
        state: The state to start from. It is not changed.
        config: The settings.
        plan: The learning rate of each epoch.
        data: The task's examples.
        epochs: Number of epochs, at least 1.
        interrupted: Called before each batch. Returns whether to stop.
        diverged_above: A mean training loss (nats) above this counts as divergence.

    Returns:
        The state after the last epoch, and the metrics of each epoch.

    Raises:
        Interrupted: `interrupted` returned true.
        ValueError: The state's network does not read these examples.
    """
    history: list[EpochMetrics] = []
    for _ in range(epochs):
        state, metrics = _run_epoch(state, config, plan, data, interrupted, diverged_above)
        history.append(metrics)
        if metrics.diverged:
            break
    return state, tuple(history)


def held_out_accuracy(state: TrainingState, data: TensorData) -> float:
    """Return the accuracy of the state's network on the held-out examples, from 0 to 1."""
    return held_out_loss_and_accuracy(state, data)[1]


def held_out_loss_and_accuracy(state: TrainingState, data: TensorData) -> tuple[float, float]:
    """Return the mean cross entropy (nats) and the accuracy (0 to 1) on the held-out examples.

    For next-token targets, both are means over all positions.
    """
    network = build_network(network_for(state, data), state.weights)
    return loss_and_accuracy(network, data.test_inputs, data.test_labels, data.evaluation_batch)


def _run_epoch(
    state: TrainingState,
    config: TrainingConfig,
    plan: LearningRatePlan,
    data: TensorData,
    interrupted: Callable[[], bool],
    diverged_above: float,
) -> tuple[TrainingState, EpochMetrics]:
    dropping = generator(Purpose.DROPOUT, state.seed, state.epoch)
    spec = network_for(state, data)
    network = build_network(spec, state.weights, dropout=config.dropout, source=dropping)
    rate = plan.rate_at(state.epoch)
    optimizer = build_optimizer(network, config, rate, state)
    steps = -(-len(data.train_labels) // config.batch_size)
    training = train_batches(network, optimizer, _batches(state, config, data), steps, interrupted)
    metrics = _measure(network, data, training, rate, _unit_dimension(spec), diverged_above)
    after = TrainingState(
        network=state.network,
        weights=arrays_of(network),
        optimizer=optimizer.arrays(),
        optimizer_kind=config.optimizer,
        epoch=state.epoch + 1,
        seed=state.seed,
    )
    return after, metrics


def network_for(state: TrainingState, data: TensorData) -> NetworkSpec:
    """Return the state's network. Raises ValueError if it is not for these examples."""
    spec = find_network(state.network)
    needs = spec.examples, spec.inputs, spec.target, spec.outputs
    has = data.kind, data.input_shape, data.target, data.outputs
    if needs != has:
        raise ValueError(f"network {spec.name} is for {_form(*needs)}, and the examples are {_form(*has)}")
    return spec


def _form(kind: str, shape: tuple[int, ...], target: str, outputs: int) -> str:
    return f"{kind} {shape} with {outputs} {target}"


def _batches(state: TrainingState, config: TrainingConfig, data: TensorData) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of an epoch: shuffled and transformed training examples, and their labels."""
    shuffling = generator(Purpose.ORDER, state.seed, state.epoch)
    transforming = generator(Purpose.AUGMENTATION, state.seed, state.epoch)
    strength = config.augmentation_strength if config.augmentation else 0.0
    order = torch.randperm(len(data.train_labels), generator=shuffling)
    for chosen in order.split(_GATHERED_TOGETHER):
        inputs, labels = augmented(data, chosen, strength, transforming), data.train_labels[chosen]
        yield from zip(inputs.split(config.batch_size), labels.split(config.batch_size), strict=True)


@dataclass(frozen=True, slots=True)
class Training:
    """The figures of the training half of an epoch, by their names in `EpochMetrics`."""

    mean_loss: float
    initial_loss: float
    gradient_norm: float
    update_ratio: float


def train_batches(
    network: nn.Module,
    optimizer: Optimizer,
    batches: Iterator[tuple[Tensor, Tensor]],
    steps: int,
    interrupted: Callable[[], bool],
) -> Training:
    """Train on each batch once. The figures are read once, at the end.

    Args:
        network: The network. Its weights change.
        optimizer: Changes them.
        batches: Inputs and labels.
        steps: Number of batches if the norms of gradients and changes are to be measured, else 0.
        interrupted: Called before each batch. Returns whether to stop.

    Raises:
        Interrupted: `interrupted` returned true.
    """
    network.train()
    total, count, initial = torch.zeros(()), 0, torch.zeros(())
    norms, measured = StepNorms(network), measured_steps(steps)
    for number, (inputs, labels) in enumerate(batches):
        if interrupted():
            raise Interrupted
        network.zero_grad()
        loss = mean_loss(network(inputs), labels)
        loss.backward()
        if number in measured:
            norms.before_step()
            optimizer.step()
            norms.after_step()
        else:
            optimizer.step()
        total += loss.detach() * len(labels)
        count += len(labels)
        if number == 0:
            initial = loss.detach()
    return Training(float(total) / count, float(initial), norms.gradient_norm, norms.update_ratio)


def _unit_dimension(spec: NetworkSpec) -> int:
    """Return the dimension of the units in the outputs of a network's activations."""
    return -1 if spec.kind is NetworkKind.TRANSFORMER else 1


def _measure(
    network: nn.Module,
    data: TensorData,
    training: Training,
    rate: float,
    unit_dimension: int,
    diverged_above: float,
) -> EpochMetrics:
    sample, together = slice(data.train_sample), data.evaluation_batch
    with watch_units(network, unit_dimension) as dead:
        _, train_accuracy = loss_and_accuracy(network, data.train_inputs[sample], data.train_labels[sample], together)
    val_loss, val_accuracy = loss_and_accuracy(network, data.validation_inputs, data.validation_labels, together)
    train_loss = training.mean_loss
    return EpochMetrics(
        train_loss=train_loss,
        train_accuracy=train_accuracy,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        learning_rate=rate,
        diverged=not math.isfinite(train_loss) or train_loss > diverged_above,
        initial_loss=training.initial_loss,
        gradient_norm=training.gradient_norm,
        update_ratio=training.update_ratio,
        dead_units=dead.share,
    )


def loss_and_accuracy(network: nn.Module, inputs: Tensor, labels: Tensor, together: int) -> tuple[float, float]:
    """Return the mean cross entropy in nats and the accuracy, in evaluation mode, `together` examples at a time.

    Both are means over all examples and positions.
    """
    network.eval()
    with torch.inference_mode():
        if labels.dim() > 1:
            return _sequence_loss_and_accuracy(network, inputs, labels, together)
        logits = torch.cat([network(part) for part in inputs.split(together)])
        loss = float(F.cross_entropy(logits, labels))
        return loss, int((logits.argmax(1) == labels).sum()) / len(labels)


def _sequence_loss_and_accuracy(
    network: nn.Module, inputs: Tensor, labels: Tensor, together: int
) -> tuple[float, float]:
    """As `loss_and_accuracy`, for labels (N, length). It does not keep the logits, which may be large."""
    losses, right = [], 0
    for part, wanted in zip(inputs.split(together), labels.split(together), strict=True):
        logits = network(part)
        losses.append(mean_loss(logits, wanted) * len(wanted))
        right += int((logits.argmax(-1) == wanted).sum())
    return float(torch.stack(losses).sum()) / len(labels), right / labels.numel()


def mean_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross entropy in nats of logits (N, outputs) or (N, length, outputs). Labels lack the last."""
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten())


def arrays_of(network: nn.Module) -> dict[str, np.ndarray]:
    """Return the parameters and buffers of a network by name, without copies where that is possible."""
    return {key: tensor.contiguous().numpy() for key, tensor in network.state_dict().items()}
