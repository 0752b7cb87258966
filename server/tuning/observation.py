"""What an agent sees of an episode's history. Figures are rounded here, and become null here if they are not finite."""

import math
from collections.abc import Sequence

from ml_trainer_env.models import TrainingStatus
from ml_trainer_env.server.episodes.tools import Reply
from ml_trainer_env.server.tuning.history import EpochRecord, History
from ml_trainer_env.server.tuning.tasks import Budget

__all__ = ["epoch_rows", "training_status"]

_PLACES = 4


def shown_figure(value: float) -> float | None:
    """A figure rounded to 4 places, or None if it is not finite."""
    return round(value, _PLACES) if math.isfinite(value) else None


def training_status(history: History, budget: Budget, learning_rate: float) -> TrainingStatus:
    """Where a run stands.

    Args:
        history: All epochs so far.
        budget: How many there may be, and for how long.
        learning_rate: The rate of the next epoch.
    """
    last, best, left = history.last, history.best, history.left_of(budget)
    metrics = last.metrics if last else None
    return TrainingStatus(
        current_epoch=history.epochs,
        max_epochs=budget.epochs,
        remaining_budget=left.epochs,
        remaining_seconds=None if left.seconds is None else round(left.seconds, _PLACES),
        train_loss=shown_figure(metrics.train_loss) if metrics else None,
        val_loss=shown_figure(metrics.val_loss) if metrics else None,
        train_accuracy=shown_figure(metrics.train_accuracy) if metrics else None,
        val_accuracy=shown_figure(metrics.val_accuracy) if metrics else None,
        best_val_accuracy=round(best.metrics.val_accuracy, _PLACES) if best else 0.0,
        best_val_epoch=best.number if best else 0,
        loss_history_last_10=[shown_figure(loss) for loss in history.train_losses()],
        val_loss_history_last_10=[shown_figure(loss) for loss in history.val_losses()],
        convergence_signal=history.signal(),
        is_diverged=history.is_diverged,
        learning_rate=learning_rate,
        epoch_time_s=round(last.trained.seconds, _PLACES) if last else None,
    )


def epoch_rows(records: Sequence[EpochRecord]) -> list[Reply]:
    """The figures of some epochs, a row each."""
    return [
        {
            "epoch": record.number,
            "train_loss": shown_figure(record.metrics.train_loss),
            "val_loss": shown_figure(record.metrics.val_loss),
            "train_accuracy": shown_figure(record.metrics.train_accuracy),
            "val_accuracy": shown_figure(record.metrics.val_accuracy),
            "learning_rate": record.metrics.learning_rate,
            "from_cache": record.trained.from_cache,
        }
        for record in records
    ]
