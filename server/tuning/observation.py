"""The training status for agents. Figures are rounded here. A figure that is not finite becomes null."""

import math
from collections.abc import Sequence

from ml_trainer_env.models import TrainingStatus
from ml_trainer_env.server.episodes.tools import Reply
from ml_trainer_env.server.trainer.metrics import DIAGNOSTIC_FIGURES, EpochMetrics
from ml_trainer_env.server.tuning.history import EpochRecord, History
from ml_trainer_env.server.tuning.tasks import Budget

__all__ = ["epoch_rows", "training_status"]

_PLACES = 4

_DIGITS = 4
"""Significant digits of diagnostic figures. Their magnitudes differ too much for places."""


def round_figure(value: float) -> float | None:
    """Return a figure rounded to 4 places. None if it is not finite."""
    return round(value, _PLACES) if math.isfinite(value) else None


def round_diagnostic(value: float | None) -> float | None:
    """Return a diagnostic figure rounded to 4 significant digits. None if it is missing or not finite."""
    return float(f"{value:.{_DIGITS}g}") if value is not None and math.isfinite(value) else None


def training_status(
    history: History, budget: Budget, learning_rate: float, *, diagnostics: bool = False
) -> TrainingStatus:
    """Return the training status of an episode.

    Args:
        history: All epochs so far.
        budget: The budget of the episode.
        learning_rate: The learning rate of the next epoch.
        diagnostics: Whether to show the diagnostic figures of the last epoch.
    """
    last, best, left = history.last, history.best, history.left_of(budget)
    metrics = last.metrics if last else None
    return TrainingStatus(
        current_epoch=history.epochs,
        max_epochs=budget.epochs,
        remaining_budget=left.epochs,
        remaining_seconds=None if left.seconds is None else round(left.seconds, _PLACES),
        train_loss=round_figure(metrics.train_loss) if metrics else None,
        val_loss=round_figure(metrics.val_loss) if metrics else None,
        train_accuracy=round_figure(metrics.train_accuracy) if metrics else None,
        val_accuracy=round_figure(metrics.val_accuracy) if metrics else None,
        best_val_accuracy=round(best.metrics.val_accuracy, _PLACES) if best else 0.0,
        best_val_epoch=best.number if best else 0,
        loss_history_last_10=[round_figure(loss) for loss in history.train_losses()],
        val_loss_history_last_10=[round_figure(loss) for loss in history.val_losses()],
        convergence_signal=history.signal(),
        is_diverged=history.is_diverged,
        learning_rate=learning_rate,
        epoch_time_s=round(last.trained.seconds, _PLACES) if last else None,
        **(_diagnostics(metrics) if diagnostics else {}),
    )


def epoch_rows(records: Sequence[EpochRecord], *, diagnostics: bool = False) -> list[Reply]:
    """Return the figures of epochs, one row for each epoch.

    Args:
        records: The epochs.
        diagnostics: Whether to show their diagnostic figures and seconds.
    """
    return [
        {
            "epoch": record.number,
            "train_loss": round_figure(record.metrics.train_loss),
            "val_loss": round_figure(record.metrics.val_loss),
            "train_accuracy": round_figure(record.metrics.train_accuracy),
            "val_accuracy": round_figure(record.metrics.val_accuracy),
            "learning_rate": record.metrics.learning_rate,
            "from_cache": record.trained.from_cache,
            **(_row_diagnostics(record) if diagnostics else {}),
        }
        for record in records
    ]


def _row_diagnostics(record: EpochRecord) -> Reply:
    return {"epoch_time_s": round(record.trained.seconds, _PLACES), **_diagnostics(record.metrics)}


def _diagnostics(metrics: EpochMetrics | None) -> dict[str, float | None]:
    """Return the diagnostic figures of an epoch, rounded. All are None before the first epoch."""
    return {name: round_diagnostic(getattr(metrics, name)) if metrics else None for name in DIAGNOSTIC_FIGURES}
