"""The job functions of the tuning game. They are pure. An executor calls them once for each unit of work.

This module imports torch. Object references name it, so it is imported only where jobs run.
"""

from collections.abc import Callable
from functools import partial

from ml_trainer_env.server.trainer.accidents import started_state
from ml_trainer_env.server.trainer.arrays import Outcome, State
from ml_trainer_env.server.trainer.config import EpochSettings
from ml_trainer_env.server.trainer.data import TensorData
from ml_trainer_env.server.trainer.engine import advance, held_out_accuracy, held_out_loss_and_accuracy
from ml_trainer_env.server.trainer.state import FreshState, TrainingState, weights_hash

__all__ = ["measure_hidden", "measure_test_accuracy", "train_epoch"]


def train_epoch(state: State, settings: EpochSettings, data: TensorData, interrupted: Callable[[], bool]) -> Outcome:
    """Train for one epoch.

    Args:
        state: A `TrainingState`, or a `FreshState` whose weights are drawn first. A start in mid-run is computed too.
        settings: The configuration and the learning rates.
        data: The examples.
        interrupted: Called before each batch. Returns whether to stop.

    Returns:
        The state after the epoch, the figures of an `EpochMetrics`, and the hash of the weights.

    Raises:
        Interrupted: `interrupted` returned true.
    """
    if state.arrays:
        before = TrainingState.from_state(state)
    else:
        before = started_state(FreshState.from_state(state), data, interrupted)
    after, (metrics,) = advance(
        before,
        settings.config,
        settings.plan,
        data,
        interrupted=interrupted,
        diverged_above=settings.diverged_above,
    )
    return Outcome(after.to_state(), metrics.to_figures(), partial(weights_hash, after), ends=metrics.diverged)


def measure_test_accuracy(state: State, _settings: None, data: TensorData, _interrupted: Callable[[], bool]) -> Outcome:
    """Measure the accuracy on the held-out examples. It cannot be interrupted.

    Returns:
        The figure `test_accuracy`, from 0 to 1.
    """
    accuracy = held_out_accuracy(TrainingState.from_state(state), data)
    return Outcome(None, {"test_accuracy": accuracy}, str, ends=True)


def measure_hidden(state: State, prefix: str, data: TensorData, _interrupted: Callable[[], bool]) -> Outcome:
    """Measure accuracy and loss on the held-out examples. It cannot be interrupted.

    For next-token targets, both are means over all positions.

    Returns:
        The figures `<prefix>_accuracy`, from 0 to 1, and `<prefix>_loss`, in nats. The loss may be infinite or NaN.
    """
    loss, accuracy = held_out_loss_and_accuracy(TrainingState.from_state(state), data)
    return Outcome(None, {f"{prefix}_accuracy": accuracy, f"{prefix}_loss": loss}, str, ends=True)
