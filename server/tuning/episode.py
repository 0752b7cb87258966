"""The tuning episode: the cost of calls, refusals, rewards, and the end of an episode.

The run trains the model; see `run`. The state of an episode depends only on its calls and their epochs. The episode
does not know the journal, HTTP, MCP or sessions.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ml_trainer_env.models import ResetObservation, TrainingStatus
from ml_trainer_env.server.datasets import TaskExamples
from ml_trainer_env.server.episodes.call_counts import MAX_CHANGES, CallCounts
from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.episodes.game import Start, TimeLimits
from ml_trainer_env.server.episodes.progress import OnProgress, ignore_progress
from ml_trainer_env.server.episodes.reward import EpisodeReward
from ml_trainer_env.server.episodes.states import Unit
from ml_trainer_env.server.episodes.tools import Arguments, Reply
from ml_trainer_env.server.episodes.units import UnitSource
from ml_trainer_env.server.trainer.config import LIMITS, TrainingConfig
from ml_trainer_env.server.trainer.limits import check_flag
from ml_trainer_env.server.tuning.checkpoints import check_name
from ml_trainer_env.server.tuning.descriptions import reset_observation
from ml_trainer_env.server.tuning.grading import Grade, RubricVersion
from ml_trainer_env.server.tuning.history import History, Snapshot
from ml_trainer_env.server.tuning.observation import epoch_rows, training_status
from ml_trainer_env.server.tuning.rewards import Transition, episode_reward
from ml_trainer_env.server.tuning.rules import CURRENT_RULES, Rules
from ml_trainer_env.server.tuning.run import Run
from ml_trainer_env.server.tuning.submission import Submission, grade_run
from ml_trainer_env.server.tuning.tasks import Task
from ml_trainer_env.server.tuning.tools import NUM_EPOCHS, TOOLS

__all__ = ["TuningEpisode"]

_WITHHELD = "The score is told when the ranked run is closed."


class TuningEpisode:
    """One attempt at a tuning task.

    Every method that a tool calls returns a reply: the training status, `reward`, `done`, `configuration` and a
    `message`. `run_epochs` and the submission pay rewards. The score is paid once.

    Args:
        name: The episode's name.
        task: The task.
        examples: The task's examples.
        seed: Seed of initial weights, shuffling, augmentation and dropout, and of the permutation if the task has one.
        rubric: The formulas that reward and grade.
        rules: The rules: cost of calls, and figures of a grade.
        source: The source of epochs.
        limits: Time limits of calls.

    Raises (every method that a tool calls):
        EpisodeError: The call was refused and changed nothing. Or training failed; completed epochs stay completed
            and spent.
        ConfigError: An argument is out of bounds. Nothing has changed.
    """

    def __init__(
        self,
        *,
        name: str,
        task: Task,
        examples: TaskExamples,
        seed: int,
        rubric: RubricVersion,
        source: UnitSource,
        limits: TimeLimits,
        rules: Rules = CURRENT_RULES,
    ) -> None:
        self.name = name
        self.task = task
        self.examples = examples
        self.seed = seed
        self.rubric_version = rubric
        self.rules = rules
        self.submission: Submission | None = None
        submits_best = rules.grades_one_model and not task.graded_on_test and not rubric.is_hidden
        self.run = Run(task, examples, seed, rules, source, limits, submits_best=submits_best)
        self._reward = episode_reward(rubric)
        self._counts = CallCounts(rules.call_limits)
        self._last_paid = Snapshot()
        self._is_score_paid = False

    # The contract of episodes.

    @property
    def start(self) -> Start:
        """The start of the episode."""
        return Start(self.task.id, self.seed, self.rubric_version, self.examples.checksum, self.rules.version)

    @property
    def source(self) -> UnitSource:
        """The source of epochs."""
        return self.run.source

    @source.setter
    def source(self, source: UnitSource) -> None:
        self.run.source = source

    @property
    def units(self) -> Sequence[Unit]:
        """The epochs of its calls, in order."""
        return [record.trained for record in self.history.records]

    @property
    def needed_keys(self) -> list[str]:
        """The keys of the models that the episode may continue from or submit."""
        return self.run.needed_keys

    @property
    def state_hash(self) -> str | None:
        """SHA-256 (hex) of the model's weights. None before the first epoch."""
        return self.run.model.digest

    @property
    def done(self) -> bool:
        """Whether a model has been submitted."""
        return self.submission is not None

    @property
    def grade(self) -> Grade | None:
        """The grade of the submitted model. None before the submission, and where the task withholds it."""
        return self.submission.grade if self.submission and not self.task.withholds_grade else None

    @property
    def score(self) -> float | None:
        """The score of the submitted model. None before the submission, and where the task withholds it."""
        return self.grade.score if self.grade else None

    @property
    def withheld(self) -> dict[str, Any] | None:
        """Score, details and hidden figures, where the task withholds them. None before the submission."""
        if self.submission is None or not self.task.withholds_grade:
            return None
        return {**asdict(self.submission.grade), **self.submission.measured}

    @property
    def reward(self) -> EpisodeReward:
        """The rubric that computes rewards."""
        return self._reward

    @property
    def counts_every_call(self) -> bool:
        """Whether any call may end the episode: the budget is spent, or the next call is the last one."""
        return not self.done and (self.remaining_epochs <= 0 or self._counts.next_is_last)

    def count_refused_call(self) -> None:
        """Count a call that was refused before it reached this episode. Such a call never submits."""
        self._counts.count_refused()

    def interrupt(self, reason: str) -> None:
        """Stop the training of the running call at the next batch. The call fails, and its epochs stay spent."""
        self.run.interrupt(reason)

    def forget_interruption(self) -> None:
        """Note that the interrupted call has ended."""
        self.run.forget_interruption()

    async def call(self, tool: str, arguments: Arguments, on_progress: OnProgress = ignore_progress) -> Reply:
        """Carry out a call of one of the tools of `tools.TOOLS`."""
        return await TOOLS.find(tool).carry_out(self, arguments, on_progress)

    def describe(self) -> ResetObservation:
        """Return the observation of a reset."""
        return reset_observation(self)

    def snapshot(self) -> dict[str, Any]:
        """Return the fields of `MLTrainerState` that are not part of the start."""
        return {
            "status": self.training_status(),
            "configuration": asdict(self.config),
            "weights_hash": self.state_hash,
        }

    def training_status(self) -> TrainingStatus:
        """Return the training status, with the figures that the rules show."""
        shown = self.rules.shows_diagnostics
        return training_status(self.history, self.task.budget, self.learning_rate, diagnostics=shown)

    # The state of the run.

    @property
    def config(self) -> TrainingConfig:
        """The settings of the next epoch."""
        return self.run.config

    @property
    def history(self) -> History:
        """The epochs so far."""
        return self.run.history

    @property
    def remaining_epochs(self) -> int:
        """Number of epochs left in the budget."""
        return self.run.remaining_epochs

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next epoch."""
        return self.run.learning_rate

    # The calls of the tools.

    async def configure(self, changes: Mapping[str, object], reinitialize: object = False) -> Reply:
        """Change settings; see `Run.configure`.

        Args:
            changes: New values by setting. Other settings stay.
            reinitialize: Whether to draw new weights. The budget stays spent.
        """

        async def change() -> str:
            fresh = check_flag("reinitialize", reinitialize)
            self.run.configure(changes, fresh)
            return "Configured with fresh weights." if fresh else "Configured."

        return await self._change(change)

    async def run_epochs(self, num_epochs: object, on_progress: OnProgress = ignore_progress) -> Reply:
        """Train. Stops at the end of the budget, at divergence, or at the time limit of the call.

        Args:
            num_epochs: The number of epochs, 1 to 20.
            on_progress: Called after each epoch, and while an epoch waits for a worker.
        """
        first = self.history.epochs

        async def train() -> str:
            nonlocal first
            first = self.history.epochs
            epochs = min(int(NUM_EPOCHS.check("num_epochs", num_epochs)), self._require_budget())
            self.run.require_not_diverged("run_epochs")
            await self.run.train(epochs, on_progress)
            return self._training_message(self.history.epochs - first)

        def rows() -> Reply:
            records = self.history.records[first:]
            return {
                "epochs": epoch_rows(records, diagnostics=self.rules.shows_diagnostics),
                "from_cache": all(r.trained.from_cache for r in records),
            }

        return await self._change(train, rows, pays=True)

    async def adjust_learning_rate(self, new_lr: object) -> Reply:
        """Set the learning rate. The schedule continues from it.

        Args:
            new_lr: The learning rate of the next epoch.
        """

        async def change() -> str:
            rate = LIMITS["learning_rate"].check("new_lr", new_lr)
            self.run.set_learning_rate(rate)
            return f"The learning rate is {rate:g} from now on."

        return await self._change(change)

    async def toggle_augmentation(self, enabled: object, strength: object = None) -> Reply:
        """Switch augmentation on or off from the next epoch on.

        Args:
            enabled: Whether augmentation is on.
            strength: 0 to 1. None does not change it.
        """

        async def change() -> str:
            changes: dict[str, object] = {"augmentation": check_flag("enabled", enabled)}
            if strength is not None:
                limit = LIMITS["augmentation_strength"]
                changes["augmentation_strength"] = limit.check("strength", strength)
            self.run.configure(changes, reinitialize=False)
            state = "on" if self.config.augmentation else "off"
            return f"Augmentation is {state}, strength {self.config.augmentation_strength:g}."

        return await self._change(change)

    async def save_checkpoint(self, name: object) -> Reply:
        """Save the weights and the optimizer under a name."""

        async def change() -> str:
            key = check_name(name)
            self.run.require_not_diverged("save_checkpoint")
            if not self.history.ancestry and not self.rules.saves_initial_model:
                raise EpisodeError("there is nothing to save before an epoch has run; call run_epochs first")
            self._counts.require_save()
            self.run.save(key)
            self._counts.count_save()
            return f"Saved checkpoint {key}."

        return await self._change(change, self._listing, counts=self.rules.checkpoint_calls_count)

    async def restore_checkpoint(self, name: object) -> Reply:
        """Restore weights, optimizer and position in the schedule. The budget stays spent."""

        async def change() -> str:
            key = check_name(name)
            checkpoint = self.run.find(key)
            self._counts.require_restore()
            self.run.restore(checkpoint)
            self._counts.count_restore()
            return f"Restored checkpoint {key}; the budget stays spent."

        return await self._change(change, self._listing, counts=self.rules.checkpoint_calls_count)

    async def list_checkpoints(self) -> Reply:
        """List the checkpoints."""
        return await self._read("Checkpoints, oldest first.", self._listing)

    async def status(self) -> Reply:
        """Return the training status."""
        return await self._read(f"The run is {self.history.signal().value.replace('_', ' ')}.", dict)

    async def submit(self) -> Reply:
        """Submit the best model in the ancestry of the current one, or the current one. Ends the episode."""

        async def grade() -> str:
            if not self.run.has_model:
                raise EpisodeError("there is nothing to submit before an epoch has run; call run_epochs first")
            await self._submit()
            return f"Submitted: score {self.score}." if self.grade else f"Submitted. {_WITHHELD}"

        return await self._change(grade, pays=True)

    # The rules.

    async def _change(
        self,
        act: Callable[[], Awaitable[str]],
        extra: Callable[[], Reply] = dict,
        pays: bool = False,
        counts: bool = True,
    ) -> Reply:
        """Carry out a call that changes something. Submits if it is the last call.

        Args:
            act: Makes the change and returns a message.
            extra: Returns further fields of the reply.
            pays: Whether the call pays a reward.
            counts: Whether the call counts towards `MAX_CHANGES`.
        """
        self._require_open()
        if (end := self._counts.count(self.remaining_epochs <= 0)) is not None:
            return await self._end(end)
        message = await act()
        if counts and self._counts.count_change() and not self.done:
            await self._submit()
            return self._reply(f"{message} That was call {MAX_CHANGES}: the model was submitted by itself.", extra)
        return self._reply(message, extra, pays=pays)

    async def _read(self, message: str, extra: Callable[[], Reply]) -> Reply:
        """Carry out a call that only reads."""
        if not self.done and (end := self._counts.count(self.remaining_epochs <= 0)) is not None:
            return await self._end(end)
        return self._reply(message, extra)

    async def _end(self, message: str) -> Reply:
        await self._submit()
        return self._reply(message, dict, pays=True)

    async def _submit(self) -> None:
        self.submission = await grade_run(self.run, self.task, self.rubric_version, self.rules, self.name)

    def _reply(self, message: str, extra: Callable[[], Reply], pays: bool = False) -> Reply:
        parts: Reply = {}
        reward = 0.0
        if pays or (self.done and not self._is_score_paid):
            reward, parts = self._pay()
        reply: Reply = {
            **self.training_status().model_dump(),
            "reward": reward,
            "done": self.done,
            "configuration": asdict(self.config),
            "weights_hash": self.state_hash,
            "from_cache": False,
            "message": message,
            **parts,
            **extra(),
        }
        if self.submission is not None:
            reply |= {"graded_epoch": self.run.graded_epoch, **self._told(self.submission)}
        return reply

    def _told(self, submission: Submission) -> Reply:
        """Return what a reply tells of a submission."""
        if self.grade is None:
            return {}
        return {
            "score": self.grade.score,
            "details": self.grade.details,
            "grade": asdict(self.grade),
            **submission.measured,
            "test_accuracy": submission.test_accuracy,
        }

    def _pay(self) -> tuple[float, Reply]:
        """Compute the reward since the last one. It contains the score once."""
        after = self.history.snapshot()
        score = self.grade.score if self.grade and not self._is_score_paid else None
        reward = self._reward(None, Transition(self._last_paid, after, score))
        self._last_paid = after
        self._is_score_paid = self.done
        return reward, {"reward_parts": self._reward.parts()}

    def _listing(self) -> Reply:
        return {"checkpoints": self.run.checkpoints()}

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

    def _training_message(self, epochs: int) -> str:
        message = f"Ran {epochs} epoch{'s' if epochs != 1 else ''}."
        if self.history.is_diverged:
            return message + " Training diverged: reinitialize with a lower learning rate, or restore a checkpoint."
        if not self.remaining_epochs:
            return message + " The budget is used up: submit the model."
        return message
