"""The epochs of an episode so far, and the figures computed from them."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from ml_trainer_env.server.episodes.states import Unit
from ml_trainer_env.server.trainer.metrics import EpochMetrics
from ml_trainer_env.server.tuning.grading import Figures
from ml_trainer_env.server.tuning.signals import ConvergenceSignal, convergence_signal
from ml_trainer_env.server.tuning.tasks import Budget

__all__ = ["EpochRecord", "History", "Snapshot"]

LAST_EPOCHS = 10
"""Number of last losses that an observation lists and a variance is computed of."""


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """An epoch of the episode.

    Attributes:
        number: Its number in the episode, from 1.
        trained: The unit of work.
        metrics: Its figures.
    """

    number: int
    trained: Unit
    metrics: EpochMetrics


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Figures at one time in an episode. Rewards are computed from the differences of two snapshots.

    Attributes:
        epochs: Number of epochs.
        best_val_accuracy: Best validation accuracy. 0 before the first epoch.
        best_val_loss: Lowest finite validation loss, in nats. Infinite before the first.
        val_loss: Validation loss of the last epoch, in nats. None before the first.
        gap: Train accuracy minus validation accuracy of the last epoch. 0 before the first.
        divergences: Number of diverged epochs.
    """

    epochs: int = 0
    best_val_accuracy: float = 0.0
    best_val_loss: float = math.inf
    val_loss: float | None = None
    gap: float = 0.0
    divergences: int = 0


@dataclass(frozen=True, slots=True)
class History:
    """All epochs of an episode, in order. Immutable: a new epoch gives a new history.

    Attributes:
        records: The epochs.
        run_start: Number of epochs before the weights were last drawn or restored.
        ancestry: The epochs that trained the current model, from initial weights on. Restores are followed.
    """

    records: tuple[EpochRecord, ...] = ()
    run_start: int = 0
    ancestry: tuple[EpochRecord, ...] = ()

    def with_epoch(self, trained: Unit) -> Self:
        """Return the history with one more epoch."""
        record = EpochRecord(self.epochs + 1, trained, EpochMetrics.from_figures(trained.figures))
        return replace(self, records=(*self.records, record), ancestry=(*self.ancestry, record))

    def with_new_run(self, ancestry: tuple[EpochRecord, ...] = ()) -> Self:
        """Return the history with a new run after its epochs.

        Args:
            ancestry: The epochs that trained the run's first model. Empty for initial weights.
        """
        return replace(self, run_start=self.epochs, ancestry=ancestry)

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        return len(self.records)

    @property
    def seconds(self) -> float:
        """Training time of the epochs, in seconds. An epoch from the cache counts its original time."""
        # `fsum` rounds once, so the sum is the same in every version of Python.
        return math.fsum(record.trained.seconds for record in self.records)

    def left_of(self, budget: Budget) -> Budget:
        """Return the rest of a budget. It has no epochs if the seconds are spent."""
        if budget.seconds is None:
            return Budget(budget.epochs - self.epochs)
        seconds = max(0.0, budget.seconds - self.seconds)
        return Budget(budget.epochs - self.epochs if seconds > 0 else 0, seconds)

    @property
    def last(self) -> EpochRecord | None:
        """The last epoch. None before the first."""
        return self.records[-1] if self.records else None

    @property
    def best(self) -> EpochRecord | None:
        """The first epoch with the best validation accuracy. None before the first epoch."""
        return _best(self.records)

    @property
    def best_ancestor(self) -> EpochRecord | None:
        """The first epoch with the best validation accuracy in the ancestry. None for initial weights."""
        return _best(self.ancestry)

    @property
    def is_diverged(self) -> bool:
        """Whether the last epoch of the current run diverged."""
        return self.epochs > self.run_start and self.records[-1].metrics.diverged

    def train_losses(self) -> list[float]:
        """Return the training losses of the last 10 epochs, in nats."""
        return [record.metrics.train_loss for record in self.records[-LAST_EPOCHS:]]

    def val_losses(self) -> list[float]:
        """Return the validation losses of the last 10 epochs, in nats."""
        return [record.metrics.val_loss for record in self.records[-LAST_EPOCHS:]]

    def signal(self) -> ConvergenceSignal:
        """Return the convergence signal of the current run."""
        if not self.records:
            return ConvergenceSignal.NOT_STARTED
        if self.is_diverged:
            return ConvergenceSignal.DIVERGED
        run = [record.metrics for record in self.records[self.run_start :]]
        return convergence_signal([m.train_loss for m in run], [m.val_loss for m in run])

    def snapshot(self) -> Snapshot:
        """Return the current figures for rewards."""
        if self.last is None or self.best is None:
            return Snapshot()
        metrics = self.last.metrics
        finite = [loss for loss in _val_losses(self.records) if math.isfinite(loss)]
        return Snapshot(
            epochs=self.epochs,
            best_val_accuracy=self.best.metrics.val_accuracy,
            best_val_loss=min(finite, default=math.inf),
            val_loss=metrics.val_loss,
            gap=_gap(metrics),
            divergences=sum(record.metrics.diverged for record in self.records),
        )

    def figures(self, budget_epochs: int, test_accuracy: float | None = None) -> Figures:
        """Return the figures of a grade of one model: the best ancestor of the current one.

        The gap and the losses are those of its epoch. All epochs after the episode first reached this accuracy count
        as wasted. A restored checkpoint does not reduce them.

        Args:
            budget_epochs: The budget, in epochs.
            test_accuracy: Test accuracy of the submitted model. None if it was not measured.

        Raises:
            ValueError: The current model has not been trained.
        """
        best = self.best_ancestor
        if best is None:
            raise ValueError("there is no model to grade")
        path = self.ancestry[: self.ancestry.index(best) + 1]
        accuracy = best.metrics.val_accuracy
        reached = next(record for record in self.records if record.metrics.val_accuracy >= accuracy)
        return Figures(
            best_val_accuracy=accuracy,
            overfitting_gap=_gap(best.metrics),
            wasted_epochs=self.epochs - reached.number,
            budget_epochs=budget_epochs,
            loss_variance=_variance(_val_losses(path[-LAST_EPOCHS:])),
            test_accuracy=math.nan if test_accuracy is None else test_accuracy,
        )

    def episode_figures(self, budget_epochs: int, test_accuracy: float | None = None) -> Figures:
        """Return the figures of a grade of rules 1: the best epoch's accuracy, the last epoch's gap and losses.

        Args:
            budget_epochs: The budget, in epochs.
            test_accuracy: Test accuracy of the submitted model. None if it was not measured.

        Raises:
            ValueError: No epoch has run.
        """
        if self.last is None or self.best is None:
            raise ValueError("there is nothing to grade before the first epoch")
        return Figures(
            best_val_accuracy=self.best.metrics.val_accuracy,
            overfitting_gap=_gap(self.last.metrics),
            wasted_epochs=self.epochs - self.best.number,
            budget_epochs=budget_epochs,
            loss_variance=_variance(self.val_losses()),
            test_accuracy=math.nan if test_accuracy is None else test_accuracy,
        )


def _best(records: Sequence[EpochRecord]) -> EpochRecord | None:
    return max(records, key=lambda record: record.metrics.val_accuracy, default=None)


def _gap(metrics: EpochMetrics) -> float:
    return metrics.train_accuracy - metrics.val_accuracy


def _val_losses(records: Sequence[EpochRecord]) -> list[float]:
    return [record.metrics.val_loss for record in records]


def _variance(losses: Sequence[float]) -> float:
    """Return the population variance. Infinite if a loss is not finite."""
    return statistics.pvariance(losses) if all(map(math.isfinite, losses)) else math.inf
