"""The OpenEnv environment: between OpenEnv's sessions and an episode."""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from fastmcp.exceptions import ToolError
from openenv.core.env_server.mcp_environment import MCPEnvironment
from openenv.core.env_server.mcp_types import CallToolAction, CallToolObservation
from openenv.core.env_server.types import Action, EnvironmentMetadata, Observation
from openenv.core.utils import run_async_safely

from ml_trainer_env.models import DatasetDescription, MLTrainerState, ResetObservation, TaskDescription
from ml_trainer_env.server.datasets import DataSettings, TaskImages, load_images
from ml_trainer_env.server.episodes.episode import Episode, TimeLimits
from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.episodes.observation import Reply, training_status
from ml_trainer_env.server.executors.contract import Executor
from ml_trainer_env.server.tasks.definitions import TASKS, Task, UnknownTaskError, find_task
from ml_trainer_env.server.tasks.grading import RubricVersion
from ml_trainer_env.server.tools import TOOL_NAMES, build_tool_server
from ml_trainer_env.server.trainer.errors import ConfigError
from ml_trainer_env.server.trainer.limits import Limit, check_choice, shown
from ml_trainer_env.server.web import episode_page, one_click_actions

__all__ = ["MLTrainerEnvironment", "ResetError", "Services"]

DESCRIPTION = (
    "Train a real PyTorch model well on a budget of epochs: choose optimizer, learning rate, schedule and "
    "regularisation, watch the curves, change course, and submit."
)
VERSION = "0.1.0"

_SEED = Limit(0, 2**63 - 1, whole=True)
_STEP_MARGIN_S = 60.0
"""The episode stops a call that runs over its time; OpenEnv's own limit must come later."""

_SPLIT = "train"
_DEFAULT_TASK = "easy_mnist"

Result = TypeVar("Result")


class ResetError(ValueError):
    """A reset asks for something there is not. The message says what there is."""


@dataclass(frozen=True, slots=True)
class Services:
    """What all sessions of a server share.

    Attributes:
        executor: Where training runs.
        data: Where images come from.
        limits: How long training may take.
        rubric: The rubric of an episode that names none.
    """

    executor: Executor
    data: DataSettings
    limits: TimeLimits
    rubric: RubricVersion = RubricVersion.V1


class MLTrainerEnvironment(MCPEnvironment):
    """Train a real network on a budget of epochs.

    Actions: `CallToolAction` with one of the nine tools of `server/tools.py`; `ListToolsAction`.

    Observation: a dict with the training status (`models.TrainingStatus`), `reward`, `done`, the
    `configuration` and a `message`; after `run_epochs` a row for each epoch; at the end `score`,
    `details` and `test_accuracy`.

    Reward: 0.3 times the gain in best validation accuracy, 0.05 for a falling validation loss, -0.2
    for divergence, a small penalty for a train-validation gap above 0.08, and the score on
    submission; `rubric.named_rubrics()` lists the parts.

    Start: `reset(task_id, seed, episode_id, rubric)`. End: `submit_model`, 60 calls that change
    something, or five calls after the end of the budget.

    Version history: v0.1.0, first release.

    Args:
        services: What all sessions share. Making an environment is cheap: no torch, no images.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, services: Services) -> None:
        super().__init__(build_tool_server(self._call, self._count))
        self._services = services
        self._episode: Episode | None = None
        self._step_count = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    # Reset.

    def reset(self, seed: int | None = None, episode_id: str | None = None, **options: Any) -> ResetObservation:
        """Begin an episode; see `reset_async`."""
        return self._run_on_loop(self.reset_async(seed, episode_id, **options))

    async def reset_async(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        task_id: str | None = None,
        rubric: str | None = None,
        split: str | None = None,
        index: int | None = None,
        **unknown: Any,
    ) -> ResetObservation:
        """Begin an episode.

        Args:
            seed: Fixes initial weights, shuffling, augmentation and dropout; the task's own if None.
            episode_id: Its name; a new one if None.
            task_id: Which task; `easy_mnist` if None.
            rubric: v1 or v2; the server's default if None.
            split: With `index`, another way to name a task: by its place in the task API.
            index: See `split`.
            unknown: Refused, so that a misspelt option does not pass in silence.

        Raises:
            ResetError: An option is unknown or has a value there is not.
            DatasetError: The task's images cannot be had.
        """
        if unknown:
            known = "task_id, seed, episode_id, rubric, split, index"
            raise ResetError(f"unknown reset option {shown(next(iter(unknown)))}; the options are {known}")
        episode = await self._new_episode(seed, episode_id, self._find(task_id, split, index), rubric)
        if self._episode is not None:
            self._episode.close()
        self._loop = asyncio.get_running_loop()
        self._episode = episode
        self._step_count = 0
        self.rubric = episode.reward
        self._reset_rubric()
        return _reset_observation(episode)

    async def _new_episode(self, seed: int | None, episode_id: str | None, task: Task, rubric: str | None) -> Episode:
        try:
            chosen_seed = task.seed if seed is None else int(_SEED.check("seed", seed))
            chosen = self._services.rubric if rubric is None else rubric
            version = RubricVersion(check_choice("rubric", chosen, tuple(RubricVersion)))
        except ValueError as error:
            raise ResetError(str(error)) from error
        if episode_id is not None and not isinstance(episode_id, str):
            raise ResetError(f"episode_id must be a text, got {shown(episode_id)}")
        # Reading or drawing images takes up to seconds: not on the event loop.
        images = await asyncio.to_thread(load_images, task.images, self._services.data)
        return Episode(
            episode_id=episode_id or str(uuid.uuid4()),
            task=task,
            images=images,
            seed=chosen_seed,
            rubric=version,
            executor=self._services.executor,
            limits=self._services.limits,
        )

    def _find(self, task_id: object, split: object, index: object) -> Task:
        """The task that a reset names, by its id or by its place in the task API."""
        if split is None and index is None:
            try:
                return find_task(_DEFAULT_TASK if task_id is None else task_id)
            except UnknownTaskError as error:
                raise ResetError(str(error)) from error
        if task_id is not None:
            raise ResetError(f"name a task by task_id or by split and index, not by both: got {shown(task_id)}")
        if split not in {None, _SPLIT} or isinstance(index, bool) or not isinstance(index, int | None):
            raise ResetError(f"split must be {_SPLIT} and index a whole number, got {shown(split)}, {shown(index)}")
        try:
            return find_task(self.get_task(_SPLIT, index or 0)["id"])
        except IndexError as error:
            raise ResetError(str(error)) from error

    # Steps.

    def step(self, action: Action, timeout_s: float | None = None, **options: Any) -> Observation:
        """Carry out an action; see `step_async`."""
        return self._run_on_loop(self.step_async(action, timeout_s, **options))

    async def step_async(self, action: Action, timeout_s: float | None = None, **options: Any) -> Observation:
        """Carry out an action.

        Reward and done come out of the tool's own reply, so they are the same on every way in.

        Args:
            action: A tool call or a request for the list of tools.
            timeout_s: Not used: the server's own limits stop training, and leave nothing running.
            options: Not used.
        """
        if isinstance(action, CallToolAction):
            # /web steps in another thread; it must come back to the loop that holds the episode.
            self._loop = self._loop or asyncio.get_running_loop()
        observation = await super().step_async(action, self._services.limits.call_s + _STEP_MARGIN_S)
        if isinstance(observation, CallToolObservation):
            reply = getattr(observation.result, "data", None)
            observation.reward = reply["reward"] if isinstance(reply, dict) else 0.0
            observation.done = self._episode is not None and self._episode.done
            observation.metadata = {"step_count": self._step_count}
        return observation

    def _step_impl(self, action: Action, timeout_s: float | None = None, **options: Any) -> Observation:
        raise ValueError(f"expected a tool call, got {type(action).__name__}")

    def _count(self) -> None:
        self._step_count += 1

    async def _call(self, act: Callable[[Episode], Awaitable[Reply]]) -> Reply:
        if self._episode is None:
            raise _mistake("there is no episode: call reset first (a session that timed out begins anew)")
        try:
            return await act(self._episode)
        except (EpisodeError, ConfigError) as refusal:
            raise _mistake(str(refusal)) from refusal

    def _run_on_loop(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine from synchronous code, on the loop that the episode lives on if it runs."""
        loop = self._loop
        if loop is not None and loop.is_running():
            return asyncio.run_coroutine_threadsafe(work, loop).result()
        result: Result = run_async_safely(work)
        return result

    # What OpenEnv asks for besides.

    @property
    def state(self) -> MLTrainerState:
        """The episode's state, without anything held out."""
        episode = self._episode
        if episode is None:
            return MLTrainerState(step_count=self._step_count)
        return MLTrainerState(
            episode_id=episode.episode_id,
            step_count=self._step_count,
            task_id=episode.task.id,
            seed=episode.seed,
            rubric=episode.rubric_version,
            done=episode.done,
            status=training_status(episode.history, episode.task.budget_epochs, episode.learning_rate),
            configuration=asdict(episode.config),
        )

    def get_metadata(self) -> EnvironmentMetadata:
        """What this environment is."""
        return EnvironmentMetadata(name="ml_trainer_env", description=DESCRIPTION, version=VERSION)

    def close(self) -> None:
        """End the session: a call under way stops at its next epoch."""
        if self._episode is not None:
            self._episode.close()
        super().close()

    def list_splits(self) -> list[dict[str, str]]:
        """The one split."""
        return [{"name": _SPLIT, "type": "train"}]

    def list_tasks(self, split: str) -> list[dict[str, Any]]:
        """The tasks of a split, none for a split there is not."""
        return [_task_row(index, task) for index, task in enumerate(TASKS.values())] if split == _SPLIT else []

    def num_tasks(self, split: str) -> int:
        """How many tasks a split has."""
        return len(self.list_tasks(split))

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        """One task.

        Raises:
            IndexError: There is none at that place.
        """
        tasks = self.list_tasks(split)
        if not 0 <= index < len(tasks):
            raise IndexError(f"there is no task {index} in the split {split!r}")
        return tasks[index]

    def get_task_range(self, split: str, start: int | None, stop: int | None) -> list[dict[str, Any]]:
        """The tasks from `start` up to `stop`.

        Raises:
            IndexError: One of the two is negative.
        """
        if min(start or 0, stop or 0) < 0:
            raise IndexError("start and stop must not be negative")
        return self.list_tasks(split)[slice(start, stop)]

    def render_web(self, observation: dict[str, Any]) -> str | None:
        """The episode's curves, for the page at /web."""
        return episode_page(self._episode) if self._episode is not None else None

    def web_actions(self, observation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """Useful next calls, for the page at /web."""
        return one_click_actions(self._episode) if self._episode is not None else []


def _mistake(message: str) -> ToolError:
    """What an agent is told of a mistake of its own: not a line for the server's error log."""
    return ToolError(message, log_level=logging.DEBUG)


def _reset_observation(episode: Episode) -> ResetObservation:
    task, images = episode.task, episode.images
    return ResetObservation(
        reward=0.0,
        done=False,
        episode_id=episode.episode_id,
        seed=episode.seed,
        rubric=episode.rubric_version,
        task=TaskDescription(
            id=task.id,
            name=task.name,
            description=task.description,
            difficulty=task.difficulty,
            network=task.network,
            parameter_count=task.parameter_count,
            dataset=_dataset_description(task, images),
            budget_epochs=task.budget_epochs,
            target_metric=task.target_metric,
            target_value=task.target_value,
            tools=list(TOOL_NAMES),
        ),
        status=training_status(episode.history, task.budget_epochs, episode.learning_rate),
    )


def _dataset_description(task: Task, images: TaskImages) -> DatasetDescription:
    return DatasetDescription(
        name=task.images.dataset,
        source=images.source,
        train_size=len(images.train_labels),
        validation_size=len(images.validation_labels),
        test_size=len(images.test_labels),
        checksum=images.checksum,
    )


def _task_row(index: int, task: Task) -> dict[str, Any]:
    return {
        "id": task.id,
        "index": index,
        "name": task.name,
        "description": task.description,
        "difficulty": task.difficulty,
        "budget_epochs": task.budget_epochs,
        "target_metric": task.target_metric,
        "target_value": task.target_value,
    }
