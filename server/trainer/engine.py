"""The training engine: pure functions from states to states.

It uses no clock, file, connection, log or global random state. An epoch is a function of (state, configuration, rate
plan, data) alone. A longer run is a chain of epochs. So the result does not depend on how a run is split into calls.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ml_trainer_env.server.trainer.augmentation import augmented
from ml_trainer_env.server.trainer.config import DIVERGED_LOSS, TrainingConfig
from ml_trainer_env.server.trainer.data import TensorData
from ml_trainer_env.server.trainer.learner import Learner, Training, never, train_batches
from ml_trainer_env.server.trainer.learners import open_learner
from ml_trainer_env.server.trainer.metrics import EpochMetrics
from ml_trainer_env.server.trainer.network_specs import NetworkSpec, find_network
from ml_trainer_env.server.trainer.networks import draw_weights
from ml_trainer_env.server.trainer.randomness import Purpose, generator
from ml_trainer_env.server.trainer.schedules import LearningRatePlan
from ml_trainer_env.server.trainer.state import FreshState, TrainingState

__all__ = ["advance", "held_out_accuracy", "held_out_loss_and_accuracy", "initial_state", "network_for"]

_GATHERED_TOGETHER = 512
"""Number of examples that one operation gathers and transforms. It is large enough to be cheap, small enough for the
cache, and a multiple of every batch size."""


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
    learner = _open(state, TrainingConfig(), 0.0, data)
    with learner.computing():
        found = learner.evaluate(data.test_inputs, data.test_labels, data.evaluation_batch)
    return found.loss, found.accuracy


def _run_epoch(
    state: TrainingState,
    config: TrainingConfig,
    plan: LearningRatePlan,
    data: TensorData,
    interrupted: Callable[[], bool],
    diverged_above: float,
) -> tuple[TrainingState, EpochMetrics]:
    dropping = generator(Purpose.DROPOUT, state.seed, state.epoch)
    rate = plan.rate_at(state.epoch)
    learner = _open(state, config, rate, data, dropping)
    steps = -(-len(data.train_labels) // config.batch_size)
    with learner.computing():
        training = train_batches(learner, _batches(state, config, data), steps, interrupted)
        metrics = _measure(learner, data, training, rate, diverged_above)
    after = TrainingState(
        network=state.network,
        weights=learner.weights(),
        optimizer=learner.optimizer_arrays(),
        optimizer_kind=config.optimizer,
        epoch=state.epoch + 1,
        seed=state.seed,
    )
    return after, metrics


def _open(
    state: TrainingState,
    config: TrainingConfig,
    rate: float,
    data: TensorData,
    source: torch.Generator | None = None,
) -> Learner:
    """Open the learner of a state for some examples."""
    return open_learner(
        network_for(state, data), state, config, rate, data.kernels, source, data.precision, data.device
    )


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
    order = torch.randperm(len(data.train_labels), generator=shuffling).to(data.device)
    for chosen in order.split(_GATHERED_TOGETHER):
        inputs, labels = augmented(data, chosen, strength, transforming), data.train_labels[chosen]
        yield from zip(inputs.split(config.batch_size), labels.split(config.batch_size), strict=True)


def _measure(
    learner: Learner, data: TensorData, training: Training, rate: float, diverged_above: float
) -> EpochMetrics:
    sample, together = slice(data.train_sample), data.evaluation_batch
    trained = learner.evaluate(data.train_inputs[sample], data.train_labels[sample], together, watches_units=True)
    validation = learner.evaluate(data.validation_inputs, data.validation_labels, together)
    train_loss = training.mean_loss
    return EpochMetrics(
        train_loss=train_loss,
        train_accuracy=trained.accuracy,
        val_loss=validation.loss,
        val_accuracy=validation.accuracy,
        learning_rate=rate,
        diverged=not math.isfinite(train_loss) or train_loss > diverged_above,
        initial_loss=training.initial_loss,
        gradient_norm=training.gradient_norm,
        update_ratio=training.update_ratio,
        dead_units=trained.dead_units,
    )
