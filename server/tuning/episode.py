"""The episode: the rules of the game, in one class.

It owns the budget, the model and the rewards of one agent's attempt at one task. It trains through
a trainer and knows nothing of journals, HTTP, MCP or OpenEnv's sessions. What it does follows from
its calls alone, so the same calls with the same epochs give the same episode. Calls that change
something must come one at a time: see `open_episode.py`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from ml_trainer_env.server.datasets import Permutation, TaskImages
from ml_trainer_env.server.episodes.call_counts import MAX_CHANGES, CallCounts
from ml_trainer_env.server.episodes.errors import EpisodeError, TrainingStoppedError
from ml_trainer_env.server.episodes.states import Unit
from ml_trainer_env.server.episodes.units import UnitSource
from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.trainer.config import LIMITS, TrainingConfig
from ml_trainer_env.server.trainer.images import ImageArrays
from ml_trainer_env.server.trainer.limits import Limit, check_flag
from ml_trainer_env.server.trainer.schedules import LearningRatePlan
from ml_trainer_env.server.trainer.state import FreshState
from ml_trainer_env.server.trainer.task_data import TaskData
from ml_trainer_env.server.tuning.checkpoints import Checkpoint, Checkpoints, check_name
from ml_trainer_env.server.tuning.grading import Grade, RubricVersion
from ml_trainer_env.server.tuning.history import History, Standing
from ml_trainer_env.server.tuning.observation import Reply, epoch_rows, training_status
from ml_trainer_env.server.tuning.recipe import Measurement, Recipe, fresh_ref
from ml_trainer_env.server.tuning.rewards import Transition, episode_reward
from ml_trainer_env.server.tuning.rules import CURRENT_RULES, Rules
from ml_trainer_env.server.tuning.tasks import Task

__all__ = ["NUM_EPOCHS", "Episode", "OnProgress", "Progress", "TimeLimits", "ignore_progress"]

_LOG = logging.getLogger(__name__)

NUM_EPOCHS = Limit(1, 20, whole=True)
"""Epochs a call may ask for."""

_SCHEDULE_SETTINGS = frozenset({"learning_rate", "lr_schedule", "warmup_epochs"})


Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a call to `run_epochs` has come.

    Attributes:
        epochs: Epochs it has run.
        total: Epochs it will run.
        message: In words.
    """

    epochs: int
    total: int
    message: str


OnProgress = Callable[[Progress], None]
"""Told of progress: after each epoch, and about once a second while waiting for a worker."""


def ignore_progress(progress: Progress) -> None:
    """For callers who do not want to know."""


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long training may take before it is stopped.

    Attributes:
        epoch_s: An epoch, once it has begun.
        call_s: A whole call, waiting for a worker included.
    """

    epoch_s: float = 120.0
    call_s: float = 900.0


class Episode:
    """One attempt at a task.

    Every method that an agent may call returns a reply: the training status, `reward`, `done`,
    `configuration` and a `message`. Reward is paid by `run_epochs` and by the submission, once.

    Args:
        episode_id: Its name.
        task: What is to be done.
        images: The task's images.
        seed: Fixes initial weights, shuffling, augmentation and dropout, and the permutation if the task has one.
        rubric: Which formulas reward and grade.
        rules: What calls cost and what a grade is made of.
        source: Gives it its epochs.
        limits: How long a call may take.

    Raises (every method an agent may call):
        EpisodeError: The call was refused and changed nothing; or training failed on the way, and
            the epochs completed stay completed and spent.
        ConfigError: An argument is out of bounds; nothing has changed.
    """

    def __init__(
        self,
        *,
        episode_id: str,
        task: Task,
        images: TaskImages,
        seed: int,
        rubric: RubricVersion,
        source: UnitSource,
        limits: TimeLimits,
        rules: Rules = CURRENT_RULES,
    ) -> None:
        self.episode_id = episode_id
        self.task = task
        self.images = images
        self.seed = seed
        self.rubric_version = rubric
        self.rules = rules
        self.reward = episode_reward(rubric)
        self.config = TrainingConfig()
        self.history = History()
        self.grade: Grade | None = None
        self.test_accuracy: float | None = None
        self._data = TaskData(_arrays(task, images), _permutation(seed) if task.permuted else None)
        self.source = source
        self._limits = limits
        self._model = fresh_ref(FreshState(task.network, seed))
        self._best = self._model
        self._plan = self._fresh_plan(self.config)
        self._checkpoints = Checkpoints()
        self._paid = Standing()
        self._counts = CallCounts(rules)
        self._settled = False
        self._training: asyncio.Future[Any] | None = None
        self._interruption: str | None = None

    @property
    def done(self) -> bool:
        """Whether a model has been submitted."""
        return self.grade is not None

    @property
    def remaining_epochs(self) -> int:
        """Budget left: none once the seconds of a task that counts them are spent."""
        return self.history.left_of(self.task.budget).epochs

    @property
    def learning_rate(self) -> float:
        """The rate of the next epoch."""
        return self._plan.rate_at(self._model.position)

    @property
    def weights_hash(self) -> str | None:
        """SHA-256 of the model's weights, None before it has been trained."""
        return self._model.digest

    @property
    def needed_keys(self) -> list[str]:
        """Keys of the models that it may go on from, or hand in."""
        return [self._model.key, self._best.key, *self._checkpoints.keys()]

    @property
    def counts_every_call(self) -> bool:
        """Whether even a look may end the episode: the budget is used up, or all calls but one."""
        return not self.done and (self.remaining_epochs <= 0 or self._counts.next_is_last)

    def count_refused_call(self) -> None:
        """Count a call that was refused before it got as far as this episode. It is never the one that submits."""
        self._counts.count_refused()

    def interrupt(self, reason: str) -> None:
        """Stop the training of the call under way: that call fails, and its epochs stay spent.

        It stops at the next batch. If it has not begun to train yet, it stops before its first epoch.
        """
        self._interruption = self._interruption or reason
        if self._training is not None:
            self._training.cancel()

    def forget_interruption(self) -> None:
        """Take note that the call that was to be interrupted is over."""
        self._interruption = None

    # What an agent may call.

    async def configure(self, changes: Mapping[str, object], reinitialize: object = False) -> Reply:
        """Change settings; weights and, unless its kind changes, the optimizer's momentum stay.

        The schedule is laid anew over the budget left if a setting of it changes.

        Args:
            changes: New values by setting; the others stay as they are.
            reinitialize: Whether to draw fresh weights. Budget stays spent.
        """

        async def change() -> str:
            fresh = check_flag("reinitialize", reinitialize)
            config = self.config.with_changes(changes)
            before, self.config = self.config, config
            if fresh:
                self._model = fresh_ref(FreshState(self.task.network, self.seed, self.history.epochs))
                self._best = self._model
                self.history = self.history.with_new_run()
            if fresh or any(getattr(before, key) != getattr(config, key) for key in _SCHEDULE_SETTINGS):
                self._plan = self._fresh_plan(config)
            return "Configured with fresh weights." if fresh else "Configured."

        return await self._change(change)

    async def run_epochs(self, num_epochs: object, on_progress: OnProgress = ignore_progress) -> Reply:
        """Train; stops at the end of the budget, at divergence, or when the call has taken too long.

        Args:
            num_epochs: How many epochs, 1 to 20.
            on_progress: Told how far it has come.
        """
        first = self.history.epochs

        async def train() -> str:
            nonlocal first
            first = self.history.epochs
            wanted = min(int(NUM_EPOCHS.check("num_epochs", num_epochs)), self._require_budget())
            self._require_sound("run_epochs")
            await self._train(wanted, on_progress)
            return self._told_of_training(self.history.epochs - first)

        def rows() -> Reply:
            records = self.history.records[first:]
            return {"epochs": epoch_rows(records), "from_cache": all(r.trained.from_cache for r in records)}

        return await self._change(train, rows, pays=True)

    async def adjust_learning_rate(self, new_lr: object) -> Reply:
        """Set the rate from now on; the schedule continues from it.

        Args:
            new_lr: The rate of the next epoch.
        """

        async def change() -> str:
            rate = LIMITS["learning_rate"].check("new_lr", new_lr)
            self.config = self.config.with_changes({"learning_rate": rate})
            self._plan = self._plan.with_rate(self._model.position, rate)
            return f"The learning rate is {rate:g} from now on."

        return await self._change(change)

    async def toggle_augmentation(self, enabled: object, strength: object = None) -> Reply:
        """Switch augmentation from the next epoch on.

        Args:
            enabled: On or off.
            strength: 0 to 1; None leaves it as it is.
        """

        async def change() -> str:
            changes: dict[str, object] = {"augmentation": check_flag("enabled", enabled)}
            if strength is not None:
                limit = LIMITS["augmentation_strength"]
                changes["augmentation_strength"] = limit.check("strength", strength)
            self.config = self.config.with_changes(changes)
            state = "on" if self.config.augmentation else "off"
            return f"Augmentation is {state}, strength {self.config.augmentation_strength:g}."

        return await self._change(change)

    async def save_checkpoint(self, name: object) -> Reply:
        """Keep the weights and the optimizer under a name."""

        async def change() -> str:
            key = check_name(name)
            self._require_sound("save_checkpoint")
            if not self.history.ancestry:
                raise EpisodeError("there is nothing to save before an epoch has run; call run_epochs first")
            self._counts.require_save()
            saved = self.history.ancestry[-1] if self.rules.grades_one_model else self.history.records[-1]
            self._checkpoints.save(
                key,
                Checkpoint(
                    self._model, self._best, self.history.ancestry, self.history.epochs, saved.metrics.val_accuracy
                ),
            )
            self._counts.count_save()
            return f"Saved checkpoint {key}."

        return await self._change(change, self._listing, counts=self.rules.checkpoint_calls_count)

    async def restore_checkpoint(self, name: object) -> Reply:
        """Bring back weights, optimizer and place in the schedule. Budget stays spent."""

        async def change() -> str:
            key = check_name(name)
            checkpoint = self._checkpoints.find(key)
            self._counts.require_restore()
            self._model, self._best = checkpoint.model, checkpoint.best
            self.history = self.history.with_new_run(checkpoint.ancestry)
            self._counts.count_restore()
            return f"Restored checkpoint {key}; the budget stays spent."

        return await self._change(change, self._listing, counts=self.rules.checkpoint_calls_count)

    async def list_checkpoints(self) -> Reply:
        """List the checkpoints kept."""
        return await self._look("Checkpoints, oldest first.", self._listing)

    async def status(self) -> Reply:
        """Tell where training stands."""
        return await self._look(f"The run is {self.history.signal().value.replace('_', ' ')}.", dict)

    async def submit(self) -> Reply:
        """Hand in the best model on the ancestry of the present one, or the present one itself, and end the episode."""

        async def grade() -> str:
            if not self._has_model:
                raise EpisodeError("there is nothing to submit before an epoch has run; call run_epochs first")
            await self._submit()
            return f"Submitted: score {self.grade.score if self.grade else 0}."

        return await self._change(grade, pays=True)

    # The rules.

    async def _change(
        self,
        act: Callable[[], Awaitable[str]],
        extra: Callable[[], Reply] = dict,
        pays: bool = False,
        counts: bool = True,
    ) -> Reply:
        """Do what changes something: refuse, act, end the episode if its calls are used up.

        Args:
            act: Does it, and says what it did.
            extra: Further fields of the reply.
            pays: Whether a reward is paid for it.
            counts: Whether it counts among the calls that change something.
        """
        self._require_open()
        if (end := self._counts.count(self.remaining_epochs <= 0)) is not None:
            return await self._end(end)
        message = await act()
        if counts and self._counts.count_change() and not self.done:
            await self._submit()
            return self._reply(f"{message} That was call {MAX_CHANGES}: the model was submitted by itself.", extra)
        return self._reply(message, extra, pays=pays)

    async def _look(self, message: str, extra: Callable[[], Reply]) -> Reply:
        """Answer a question."""
        if not self.done and (end := self._counts.count(self.remaining_epochs <= 0)) is not None:
            return await self._end(end)
        return self._reply(message, extra)

    async def _train(self, epochs: int, on_progress: OnProgress) -> None:
        first = self.history.epochs
        try:
            async with asyncio.timeout(self._limits.call_s):
                await self._train_epochs(epochs, on_progress)
        except (ExecutorError, TimeoutError, _InterruptedError) as error:
            reason = str(error) or f"the call took longer than {self._limits.call_s:g} s"
            raise TrainingStoppedError(
                f"training failed: {reason}. {self.history.epochs - first} of {epochs} epochs completed and are "
                f"spent; the episode goes on from epoch {self.history.epochs}: call run_epochs again"
            ) from error
        finally:
            self.forget_interruption()
            self._model = await self.source.keep(self._model)
            self._best = self._model if self._best.key == self._model.key else await self.source.keep(self._best)

    async def _train_epochs(self, epochs: int, on_progress: OnProgress) -> None:
        """Take what is known already, and train the rest epoch by epoch."""
        last = self.history.epochs + epochs

        def told(message: str) -> None:
            on_progress(Progress(epochs - (last - self.history.epochs), epochs, message))

        def waiting(position: int) -> None:
            told(f"waiting for a worker, {position} in the queue")

        def is_through() -> bool:
            return self.history.epochs >= last or self.history.is_diverged or not self.remaining_epochs

        async with aclosing(self.source.units(self._model, self._recipe(), epochs, waiting)) as units:
            while not is_through():
                if self._interruption is not None:
                    raise _InterruptedError(self._interruption)
                self._add(await self._interruptible(anext(units)), told)

    def _add(self, unit: Unit, told: Callable[[str], None]) -> None:
        self._model = unit.ref
        self.history = self.history.with_epoch(unit.without_state())
        if self.history.best_ancestor is self.history.last:
            self._best = self._model
        accuracy = self.history.records[-1].metrics.val_accuracy
        told(f"epoch {self.history.epochs} of {self.task.budget_epochs}: validation accuracy {accuracy:.4f}")

    async def _interruptible(self, work: Awaitable[Result]) -> Result:
        """Wait for some work that `interrupt` may stop.

        Raises:
            _InterruptedError: It did.
        """
        task = asyncio.ensure_future(work)
        self._training = task
        try:
            return await task
        except asyncio.CancelledError:
            if self._interruption is None:
                raise
            raise _InterruptedError(self._interruption) from None
        finally:
            self._training = None

    def _recipe(self) -> Recipe:
        return Recipe(self.config, self._plan, self._data)

    async def _end(self, message: str) -> Reply:
        await self._submit()
        return self._reply(message, dict, pays=True)

    async def _submit(self) -> None:
        """Grade the model. One that was never trained is worth nothing."""
        if not self._has_model:
            self.grade = Grade(0.0, {"val_accuracy": 0.0})
            return
        self.test_accuracy = await self._held_out_accuracy()
        # Rounded as it is told and written down, so that a replay comes to the same grade.
        history = self.history
        figures = history.figures if self.rules.grades_one_model else history.episode_figures
        self.grade = self.task.grader(figures(self.task.budget.epochs, self.test_accuracy), self.rubric_version)

    @property
    def _has_model(self) -> bool:
        """Whether there is something to hand in. Rules 1 graded the episode, whatever had become of its model."""
        return bool(self.history.ancestry if self.rules.grades_one_model else self.history.records)

    @property
    def _hands_in_best(self) -> bool:
        """Whether the best ancestor is handed in, and not the model as it stands."""
        return self.rules.grades_one_model and not self.task.graded_on_test

    async def _held_out_accuracy(self) -> float | None:
        """Where it is for information only, an executor that fails costs the figure and not the grade.

        Raises:
            EpisodeError: It could not be measured, and the grade rests on it: nothing is submitted.
        """
        model = self._best if self._hands_in_best else self._model
        if model.initial is not None:
            return None
        try:
            # A model whose arrays were dropped is trained again first, which may take as long as training does.
            async with asyncio.timeout(self._limits.call_s):
                figures = await self.source.measure(model, Measurement(self._data))
                return round(float(figures["test_accuracy"] or 0.0), 4)
        except (ExecutorError, TimeoutError) as error:
            reason = str(error) or f"it took longer than {self._limits.call_s:g} s"
            if self.task.graded_on_test:
                raise EpisodeError(
                    f"the model could not be measured on the test images: {reason}; call submit_model again"
                ) from error
            _LOG.warning("episode %s: no test accuracy: %s", self.episode_id, reason)
            return None

    def _reply(self, message: str, extra: Callable[[], Reply], pays: bool = False) -> Reply:
        parts: Reply = {}
        reward = 0.0
        if pays or (self.done and not self._settled):
            reward, parts = self._pay()
        reply: Reply = {
            **training_status(self.history, self.task.budget, self.learning_rate).model_dump(),
            "reward": reward,
            "done": self.done,
            "configuration": asdict(self.config),
            "weights_hash": self.weights_hash,
            "from_cache": False,
            "message": message,
            **parts,
            **extra(),
        }
        if self.grade is not None:
            reply |= {
                "score": self.grade.score,
                "details": self.grade.details,
                "grade": asdict(self.grade),
                "test_accuracy": self.test_accuracy,
                "graded_epoch": self._graded_epoch,
            }
        return reply

    def _pay(self) -> tuple[float, Reply]:
        """The reward since one was last paid; the score is in it once."""
        after = self.history.standing()
        score = self.grade.score if self.grade and not self._settled else None
        reward = self.reward(None, Transition(self._paid, after, score))
        self._paid = after
        self._settled = self.done
        return reward, {"reward_parts": self.reward.parts()}

    def _fresh_plan(self, config: TrainingConfig) -> LearningRatePlan:
        return LearningRatePlan(
            schedule=config.lr_schedule,
            base_rate=config.learning_rate,
            start_epoch=self._model.position,
            span_epochs=max(1, self.remaining_epochs),
            warmup_epochs=config.warmup_epochs,
        )

    def _listing(self) -> Reply:
        return {"checkpoints": self._checkpoints.listing()}

    @property
    def _graded_epoch(self) -> int | None:
        """The epoch of the episode whose model was handed in, None if there was none, or no single one."""
        if not self.rules.grades_one_model or not self.history.ancestry:
            return None
        record = self.history.best_ancestor if self._hands_in_best else self.history.ancestry[-1]
        return record.number if record else None

    def _require_open(self) -> None:
        if self.done:
            raise EpisodeError("the episode is over; call reset (start_task over MCP) to begin another")

    def _require_budget(self) -> int:
        budget = self.task.budget
        left = self.history.left_of(budget)
        if left.epochs <= 0:
            spent = f"{budget.seconds:g} seconds of training" if left.seconds == 0 else f"{budget.epochs} epochs"
            raise EpisodeError(f"the budget of {spent} is used up; call submit_model to be graded")
        return left.epochs

    def _require_sound(self, call: str) -> None:
        if self.history.is_diverged:
            raise EpisodeError(
                f"training has diverged, so {call} is refused; call configure_training with "
                "reinitialize=true and a lower learning_rate, or restore_checkpoint"
            )

    def _told_of_training(self, epochs: int) -> str:
        message = f"Ran {epochs} epoch{'s' if epochs != 1 else ''}."
        if self.history.is_diverged:
            return message + " Training diverged: reinitialize with a lower learning rate, or restore a checkpoint."
        if not self.remaining_epochs:
            return message + " The budget is used up: submit the model."
        return message


class _InterruptedError(Exception):
    """The training was stopped; the message says why."""


def _permutation(seed: int) -> Permutation:
    """The permutation of the challenge's first task of that seed."""
    return Permutation.draw(np.random.default_rng([seed, 0]))


def _arrays(task: Task, images: TaskImages) -> ImageArrays:
    return ImageArrays(
        key=f"{task.augmentation}:{images.checksum}",
        augmentation=task.augmentation,
        train_images=images.train_images,
        train_labels=images.train_labels,
        validation_images=images.validation_images,
        validation_labels=images.validation_labels,
        test_images=images.test_images,
        test_labels=images.test_labels,
    )
