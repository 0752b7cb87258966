"""What has happened in an episode so far, and every figure that follows from it."""

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
"""How many losses an observation lists and a variance is taken over."""


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """An epoch of the episode.

    Attributes:
        number: Its place in the budget, from 1.
        trained: The unit of work.
        metrics: Its figures.
    """

    number: int
    trained: Unit
    metrics: EpochMetrics


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The figures that rewards are differences of.

    Attributes:
        epochs: Epochs run.
        best_val_accuracy: Best so far, 0 before the first epoch.
        best_val_loss: Lowest finite validation loss so far, infinite before the first.
        val_loss: Of the last epoch, None before the first.
        gap: Train less validation accuracy at the last epoch, 0 before the first.
        divergences: How many epochs diverged.
    """

    epochs: int = 0
    best_val_accuracy: float = 0.0
    best_val_loss: float = math.inf
    val_loss: float | None = None
    gap: float = 0.0
    divergences: int = 0


@dataclass(frozen=True, slots=True)
class History:
    """All epochs of an episode, in order. Grows by copies; budget that it holds is spent.

    Attributes:
        records: The epochs.
        run_start: How many of them came before the present run: before the weights were last
            drawn or brought back.
        ancestry: The epochs that made the present model, from fresh weights on, through restores.
    """

    records: tuple[EpochRecord, ...] = ()
    run_start: int = 0
    ancestry: tuple[EpochRecord, ...] = ()

    def with_epoch(self, trained: Unit) -> Self:
        """The history after one more epoch."""
        record = EpochRecord(self.epochs + 1, trained, EpochMetrics.from_figures(trained.figures))
        return replace(self, records=(*self.records, record), ancestry=(*self.ancestry, record))

    def with_new_run(self, ancestry: tuple[EpochRecord, ...] = ()) -> Self:
        """The same epochs, with a new run beginning after them.

        Args:
            ancestry: The epochs that made the model it begins from; none for fresh weights.
        """
        return replace(self, run_start=self.epochs, ancestry=ancestry)

    @property
    def epochs(self) -> int:
        """Epochs run."""
        return len(self.records)

    @property
    def seconds(self) -> float:
        """Seconds of training: what each epoch took when it was trained, whoever trained it.

        Rounded once, so that the same epochs come to the same sum in any version of Python.
        """
        return math.fsum(record.trained.seconds for record in self.records)

    def left_of(self, budget: Budget) -> Budget:
        """What is left of a budget. Once its seconds are spent, no epochs are left."""
        if budget.seconds is None:
            return Budget(budget.epochs - self.epochs)
        seconds = max(0.0, budget.seconds - self.seconds)
        return Budget(budget.epochs - self.epochs if seconds > 0 else 0, seconds)

    @property
    def last(self) -> EpochRecord | None:
        """The last epoch."""
        return self.records[-1] if self.records else None

    @property
    def best(self) -> EpochRecord | None:
        """The epoch with the best validation accuracy, the first of equals."""
        return _best(self.records)

    @property
    def best_ancestor(self) -> EpochRecord | None:
        """The epoch with the best validation accuracy on the present model's ancestry, the first of equals."""
        return _best(self.ancestry)

    @property
    def is_diverged(self) -> bool:
        """Whether the present run's last epoch diverged."""
        return self.epochs > self.run_start and self.records[-1].metrics.diverged

    def train_losses(self) -> list[float]:
        """Training losses of the last 10 epochs."""
        return [record.metrics.train_loss for record in self.records[-LAST_EPOCHS:]]

    def val_losses(self) -> list[float]:
        """Validation losses of the last 10 epochs."""
        return [record.metrics.val_loss for record in self.records[-LAST_EPOCHS:]]

    def signal(self) -> ConvergenceSignal:
        """Where the present run stands."""
        if not self.records:
            return ConvergenceSignal.NOT_STARTED
        if self.is_diverged:
            return ConvergenceSignal.DIVERGED
        run = [record.metrics for record in self.records[self.run_start :]]
        return convergence_signal([m.train_loss for m in run], [m.val_loss for m in run])

    def snapshot(self) -> Snapshot:
        """The figures that rewards are differences of."""
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
        """The figures of a grade that is about one model: the best ancestor of the present one.

        The gap and the losses are those at its epoch. Every epoch is wasted that was spent after the episode first
        reached its accuracy, on whatever branch, so that repeating it from a checkpoint refunds nothing.

        Args:
            budget_epochs: The budget, in epochs.
            test_accuracy: Of the model submitted, None if it was not measured.

        Raises:
            ValueError: The present model has not been trained.
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
        """The figures of a grade of rules 1: the best epoch's accuracy, the last epoch's gap and losses.

        Args:
            budget_epochs: The budget, in epochs.
            test_accuracy: Of the model submitted, None if it was not measured.

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
    """Population variance; infinite if a loss is not finite."""
    return statistics.pvariance(losses) if all(map(math.isfinite, losses)) else math.inf
