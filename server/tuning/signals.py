"""The convergence signal: one word on the state of a run, computed from its recent losses."""

from collections.abc import Sequence
from enum import StrEnum

__all__ = ["ConvergenceSignal", "convergence_signal"]

WARM_UP_EPOCHS = 3
WINDOW_EPOCHS = 5
PLATEAU_NATS = 0.005


class ConvergenceSignal(StrEnum):
    """The state of a run."""

    NOT_STARTED = "not_started"
    """No epoch has run."""
    DIVERGED = "diverged"
    """The last epoch's loss was not finite or above 100."""
    WARMING_UP = "warming_up"
    """Fewer than 3 epochs since the weights were drawn or restored."""
    OVERFITTING = "overfitting"
    """Over the last 5 epochs the validation loss rose while the training loss fell."""
    PLATEAUED = "plateaued"
    """The last 5 validation losses lie within 0.005 nats."""
    IMPROVING = "improving"
    """Over the last 5 epochs the validation loss fell."""
    STALLING = "stalling"
    """None of these."""


def convergence_signal(train_losses: Sequence[float], val_losses: Sequence[float]) -> ConvergenceSignal:
    """Return the signal of a run that has not diverged.

    Args:
        train_losses: Training loss of each epoch of the run, in nats.
        val_losses: Validation loss of each epoch of the run, in nats.
    """
    if len(val_losses) < WARM_UP_EPOCHS:
        return ConvergenceSignal.WARMING_UP
    train, val = train_losses[-WINDOW_EPOCHS:], val_losses[-WINDOW_EPOCHS:]
    if val[-1] > val[0] and train[-1] < train[0]:
        return ConvergenceSignal.OVERFITTING
    if max(val) - min(val) <= PLATEAU_NATS:
        return ConvergenceSignal.PLATEAUED
    if val[-1] < val[0]:
        return ConvergenceSignal.IMPROVING
    return ConvergenceSignal.STALLING
