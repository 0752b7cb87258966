"""The training run of an episode: its model, configuration, history and checkpoints.

A run gets its epochs from a source of units. It does not know calls, rewards and grades; see `episode`.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import TypeVar

import numpy as np

from ml_trainer_env.server.datasets import Permutation, TaskExamples
from ml_trainer_env.server.episodes.errors import EpisodeError, TrainingStoppedError
from ml_trainer_env.server.episodes.game import TimeLimits
from ml_trainer_env.server.episodes.interruption import InterruptedWorkError, Interruption
from ml_trainer_env.server.episodes.progress import OnProgress, Progress
from ml_trainer_env.server.episodes.states import StateRef, Unit
from ml_trainer_env.server.episodes.units import UnitSource
from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.trainer.changes import TrainingData, changed
from ml_trainer_env.server.trainer.errors import ConfigError
from ml_trainer_env.server.trainer.examples import Examples, permuted
from ml_trainer_env.server.trainer.figures import Figures
from ml_trainer_env.server.trainer.schedules import LearningRatePlan
from ml_trainer_env.server.trainer.state import FreshState
from ml_trainer_env.server.tuning.checkpoints import Checkpoint, Checkpoints
from ml_trainer_env.server.tuning.history import History
from ml_trainer_env.server.tuning.recipe import Measurement, Recipe, fresh_ref
from ml_trainer_env.server.tuning.reference import HiddenFigures
from ml_trainer_env.server.tuning.rules import Rules
from ml_trainer_env.server.tuning.tasks import Task

__all__ = ["Run"]

_SCHEDULE_SETTINGS = frozenset({"learning_rate", "lr_schedule", "warmup_epochs"})

_WORST_LOSS = 1e6
"""A hidden loss that is higher, or not finite, counts as this, because JSON has no infinity."""

Result = TypeVar("Result")


class Run:
    """A model in training.

    Args:
        task: The task.
        examples: The task's examples.
        seed: Seed of initial weights, shuffling, augmentation and dropout, and of the permutation if the task has one.
        rules: The rules of the episode.
        source: The source of epochs.
        limits: Time limits of calls.
        submits_best: Whether the best ancestor is submitted instead of the current model.

    Attributes:
        config: The settings of the next epoch.
        history: The epochs so far.
        source: The source of epochs.
        model: The current model.
        plan: The learning rate of each epoch.
    """

    def __init__(
        self,
        task: Task,
        examples: TaskExamples,
        seed: int,
        rules: Rules,
        source: UnitSource,
        limits: TimeLimits,
        *,
        submits_best: bool,
    ) -> None:
        self.config = task.initial_config
        self.history = History()
        self.source = source
        self._task = task
        self._seed = seed
        self._rules = rules
        self._limits = limits
        self._submits_best = submits_best
        plain = Examples.of(examples, task.augmentation, task.input_scale)
        self._data: TrainingData = permuted(plain, _permutation(seed)) if task.permuted else plain
        self._changed_data = changed(plain, task.change) if task.change else self._data
        self.model = self._best = fresh_ref(FreshState(task.network.name, seed, start=task.start))
        self.plan = self._fresh_plan()
        self._checkpoints = Checkpoints()
        self._interruption = Interruption()

    # State.

    @property
    def remaining_epochs(self) -> int:
        """Number of epochs left in the budget. 0 if the seconds of a time budget are spent."""
        return self.history.left_of(self._task.budget).epochs

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next epoch."""
        return self.plan.rate_at(self.model.position)

    @property
    def needed_keys(self) -> list[str]:
        """The keys of the models that the run may continue from or submit."""
        return [self.model.key, self._best.key, *self._checkpoints.keys()]

    @property
    def has_model(self) -> bool:
        """Whether there is a trained model to submit. Under rules 1 any earlier epoch is enough."""
        return bool(self.history.ancestry if self._rules.grades_one_model else self.history.records)

    @property
    def graded_epoch(self) -> int | None:
        """The epoch of the submitted model. None without a model, or if the rules grade the whole episode."""
        if not self._rules.grades_one_model or not self.history.ancestry:
            return None
        record = self.history.best_ancestor if self._submits_best else self.history.ancestry[-1]
        return record.number if record else None

    # Changes.

    def configure(self, changes: Mapping[str, object], reinitialize: bool) -> None:
        """Change settings. `reinitialize` draws new weights.

        Otherwise the weights stay, and the momentum unless the optimizer changes. If a setting of the schedule changes,
        a new schedule spans the rest of the budget.

        Raises:
            ConfigError: A setting is unknown or out of bounds. Nothing has changed.
        """
        changed = self.config.with_changes(changes)
        if changed.batch_size > self._task.largest_batch:
            raise ConfigError(f"batch_size may be at most {self._task.largest_batch} here, got {changed.batch_size}")
        before, self.config = self.config, changed
        if reinitialize:
            fresh = FreshState(self._task.network.name, self._seed, self.history.epochs)
            self.model = self._best = fresh_ref(fresh)
            self.history = self.history.with_new_run()
        if reinitialize or any(getattr(before, key) != getattr(self.config, key) for key in _SCHEDULE_SETTINGS):
            self.plan = self._fresh_plan()

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of the next epoch. The schedule continues from it."""
        self.config = self.config.with_changes({"learning_rate": rate})
        self.plan = self.plan.with_rate(self.model.position, rate)

    def save(self, name: str) -> None:
        """Save the model as a checkpoint.

        Raises:
            EpisodeError: There is no room for another name.
        """
        path = self.history.ancestry if self._rules.grades_one_model else self.history.records
        accuracy = path[-1].metrics.val_accuracy if path else None
        checkpoint = Checkpoint(self.model, self._best, self.history.ancestry, self.history.epochs, accuracy)
        self._checkpoints.save(name, checkpoint)

    def find(self, name: str) -> Checkpoint:
        """Return the checkpoint of a name.

        Raises:
            EpisodeError: No checkpoint has this name.
        """
        return self._checkpoints.find(name)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore the weights, the optimizer and the position in the schedule. The budget stays spent."""
        self.model, self._best = checkpoint.model, checkpoint.best
        self.history = self.history.with_new_run(checkpoint.ancestry)

    def checkpoints(self) -> list[dict[str, object]]:
        """Return name, epoch and validation accuracy of each checkpoint, oldest first."""
        return self._checkpoints.listing()

    # Training.

    async def train(self, epochs: int, on_progress: OnProgress) -> None:
        """Train for some epochs, or until training diverges or the time budget is spent.

        Args:
            epochs: Number of epochs, at most `remaining_epochs`.
            on_progress: Called after each epoch, and while an epoch waits for a worker.

        Raises:
            TrainingStoppedError: Training was stopped. Its completed epochs are in the history.
        """
        first = self.history.epochs
        try:
            async with asyncio.timeout(self._limits.call_s):
                await self._train_epochs(epochs, on_progress)
        except (ExecutorError, TimeoutError, InterruptedWorkError) as error:
            reason = str(error) or f"the call took longer than {self._limits.call_s:g} s"
            raise TrainingStoppedError(
                f"training failed: {reason}. {self.history.epochs - first} of {epochs} epochs completed and are "
                f"spent; the episode goes on from epoch {self.history.epochs}: call run_epochs again"
            ) from error
        finally:
            self.forget_interruption()
            self.model = await self.source.keep(self.model)
            self._best = self.model if self._best.key == self.model.key else await self.source.keep(self._best)

    async def test_accuracy(self) -> float | None:
        """Measure the submitted model on the test images.

        Returns:
            The accuracy from 0 to 1, rounded to 4 places. None for a model that has not been trained.

        Raises:
            ExecutorError: The model could not be measured.
            TimeoutError: The measurement exceeded the time limit of a call.
        """
        model = self._best if self._submits_best else self.model
        if model.initial is not None:
            return None
        figures = await self._measure(model, Measurement(self._data))
        return round(float(figures["test_accuracy"] or 0.0), 4)

    async def hidden_figures(self) -> tuple[HiddenFigures, HiddenFigures]:
        """Measure the current model, and the best one in its ancestry, on the test examples.

        Raises:
            ExecutorError: A model could not be measured.
            TimeoutError: The measurement exceeded the time limit of a call.
        """
        submitted = await self._measure_hidden(self.model, "submitted")
        best = submitted if self._best.key == self.model.key else await self._measure_hidden(self._best, "best")
        return submitted, best

    async def _measure_hidden(self, model: StateRef, prefix: str) -> HiddenFigures:
        figures = await self._measure(model, Measurement(self._changed_data, prefix))
        accuracy, loss = figures[f"{prefix}_accuracy"], figures[f"{prefix}_loss"]
        finite = loss if loss is not None and math.isfinite(loss) else _WORST_LOSS
        return HiddenFigures(round(float(accuracy or 0.0), 4), round(min(finite, _WORST_LOSS), 6))

    async def _measure(self, model: StateRef, plan: Measurement) -> Figures:
        try:
            # A model whose arrays were deleted is trained again, so the time limit of a call applies.
            async with asyncio.timeout(self._limits.call_s):
                return await self.source.measure(model, plan)
        except TimeoutError:
            raise TimeoutError(f"it took longer than {self._limits.call_s:g} s") from None

    def interrupt(self, reason: str) -> None:
        """Stop training at the next batch. Training that has not begun stops before its first epoch."""
        self._interruption.interrupt(reason)

    def forget_interruption(self) -> None:
        """Note that the interrupted call has ended."""
        self._interruption.forget()

    async def _train_epochs(self, epochs: int, on_progress: OnProgress) -> None:
        """Train the next epochs, or take them from the cache."""
        last = self.history.epochs + epochs

        def report(message: str) -> None:
            on_progress(Progress(epochs - (last - self.history.epochs), epochs, message))

        def waiting(position: int) -> None:
            report(f"waiting for a worker, {position} in the queue")

        def is_complete() -> bool:
            return self.history.epochs >= last or self.history.is_diverged or not self.remaining_epochs

        while not is_complete():  # a time budget may be spent before the epochs are
            recipe, count = self._next_epochs(last - self.history.epochs)
            async with aclosing(self.source.units(self.model, recipe, count, waiting)) as units:
                for _ in range(count):
                    self._interruption.require_none()
                    self._add(await self._interruption.wait_for(anext(units)), report)
                    if is_complete():
                        break

    def _add(self, unit: Unit, report: Callable[[str], None]) -> None:
        self.model = unit.ref
        self.history = self.history.with_epoch(unit.without_state())
        if self.history.best_ancestor is self.history.last:
            self._best = self.model
        accuracy = self.history.records[-1].metrics.val_accuracy
        report(f"epoch {self.history.epochs} of {self._task.budget_epochs}: validation accuracy {accuracy:.4f}")

    def _next_epochs(self, epochs: int) -> tuple[Recipe, int]:
        """Return the recipe of the next epochs, and how many of them it is for: no epoch beyond a change."""
        task, before_change = self._task, self._task.change_after - self.history.epochs
        is_changed = task.change is None or before_change <= 0
        data = self._changed_data if is_changed else self._data
        recipe = Recipe(self.config, self.plan, data, task.split, task.diverged_above)
        return recipe, epochs if is_changed else min(epochs, before_change)

    def _fresh_plan(self) -> LearningRatePlan:
        return LearningRatePlan(
            schedule=self.config.lr_schedule,
            base_rate=self.config.learning_rate,
            start_epoch=self.model.position,
            span_epochs=max(1, self.remaining_epochs),
            warmup_epochs=self.config.warmup_epochs,
        )

    def require_not_diverged(self, call: str) -> None:
        """Check that the model has not diverged.

        Raises:
            EpisodeError: The model has diverged.
        """
        if self.history.is_diverged:
            raise EpisodeError(
                f"training has diverged, so {call} is refused; call configure_training with "
                "reinitialize=true and a lower learning_rate, or restore_checkpoint"
            )


def _permutation(seed: int) -> Permutation:
    """Draw the permutation of the challenge's first task with this seed."""
    return Permutation.draw(np.random.default_rng([seed, 0]))
