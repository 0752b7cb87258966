"""The OpenEnv environment: between OpenEnv's sessions and an episode."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import asdict, replace
from typing import Any, Self, TypeVar

from fastmcp import Client
from fastmcp.client.client import CallToolResult
from openenv.core.env_server.mcp_environment import MCPEnvironment
from openenv.core.env_server.mcp_types import CallToolAction, CallToolObservation, ListToolsObservation
from openenv.core.env_server.types import Action, EnvironmentMetadata, Observation
from openenv.core.utils import run_async_safely

from ml_trainer_env.models import MLTrainerState, ResetObservation
from ml_trainer_env.server.episodes.arguments import read_flag, read_number
from ml_trainer_env.server.episodes.errors import ResetError
from ml_trainer_env.server.episodes.open_episode import OpenEpisode
from ml_trainer_env.server.episodes.registry import EpisodeBook, EpisodeRequest
from ml_trainer_env.server.mcp.episode_tools import build_tool_server, carry_out, episode_tools, mistake
from ml_trainer_env.server.mcp.progress import progress_frames
from ml_trainer_env.server.openenv.descriptions import reset_observation, task_rows
from ml_trainer_env.server.room.page import episode_page, for_forms, one_click_actions
from ml_trainer_env.server.security.connection import current_connection
from ml_trainer_env.server.trainer.limits import shown
from ml_trainer_env.server.tuning.observation import Reply, training_status

__all__ = ["MLTrainerEnvironment"]

DESCRIPTION = (
    "Train a real PyTorch model well on a budget of epochs: choose optimizer, learning rate, schedule and "
    "regularisation, watch the curves, change course, and submit."
)
VERSION = "0.3.0"

_STEP_MARGIN_S = 60.0
"""The episode stops a call that runs over its time; OpenEnv's own limit must come later."""

_SPLIT = "train"
_RESET_OPTIONS = "task_id, seed, episode_id, rubric, resume, fork_from, split, index"

Result = TypeVar("Result")


class MLTrainerEnvironment(MCPEnvironment):
    """Train a real network on a budget of epochs.

    Actions: `CallToolAction` with one of the nine tools of `server/mcp/episode_tools.py`; `ListToolsAction`.

    Observation: a dict with the training status (`models.TrainingStatus`), `reward`, `done`, the
    `configuration` and a `message`; after `run_epochs` a row for each epoch; at the end `score`,
    `details`, both again as `grade`, `graded_epoch` and `test_accuracy`.

    Reward: 0.3 times the gain in best validation accuracy, 0.05 for a falling validation loss, -0.2
    for divergence, a small penalty for a train-validation gap above 0.08, and the score on
    submission; `rubric.named_rubrics()` lists the parts.

    Start: `reset(task_id, seed, episode_id, rubric)`; `reset(episode_id, resume=True)` goes on with an
    episode, `reset(fork_from)` begins where another stands. End: `submit_model`, 60 calls that change
    something (checkpoint calls do not count), five calls after the end of the budget (of its epochs or, where
    there are, of its seconds), or 1,000 calls of any kind.

    Version history: v0.1.0, first release. v0.2.0: episodes are kept, and can be resumed and forked. v0.3.0: a
    grade is about one model (rules 2).

    Args:
        book: Opens episodes. Making an environment is cheap: no torch, no images.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, book: EpisodeBook) -> None:
        server = build_tool_server(_TOOLS, self._refused)
        super().__init__(server)
        self.mcp_client = _SessionClient(server, self)
        self._book = book
        self._open: OpenEpisode | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # Reset.

    def reset(self, /, seed: int | None = None, episode_id: str | None = None, **options: Any) -> ResetObservation:
        """Begin an episode; see `reset_async`."""
        return self._run_on_loop(self.reset_async(seed, episode_id, **options))

    async def reset_async(
        self,  # OpenEnv passes a request's keys by name, whatever they are: `self` is one that nobody knows
        /,
        seed: int | None = None,
        episode_id: str | None = None,
        task_id: str | None = None,
        rubric: str | None = None,
        resume: bool | None = None,
        fork_from: str | None = None,
        split: str | None = None,
        index: int | None = None,
        **unknown: Any,
    ) -> ResetObservation:
        """Begin an episode, or go on with one.

        Args:
            seed: Fixes initial weights, shuffling, augmentation, dropout and the permutation of `permuted_mnist`; the
                task's own if None.
            episode_id: Its name; a new one if None.
            task_id: Which task; `easy_mnist` if None.
            rubric: v1 or v2; the server's default if None.
            resume: Go on with the episode `episode_id`, after a lost connection or a restart.
            fork_from: Begin where another episode stands, or stood: `<episode>`, `<episode>@<checkpoint>`
                or `<episode>@<epoch>`. Its epochs count as spent.
            split: With `index`, another way to name a task: by its place in the task API.
            index: See `split`.
            unknown: Refused, so that a misspelt option does not pass in silence.

        Raises:
            ResetError: An option is unknown or has a value there is not.
            DatasetError: The task's images cannot be had.
            StoreError: The journal cannot be read or written.
        """
        if unknown:
            raise ResetError(f"unknown reset option {shown(next(iter(unknown)))}; the options are {_RESET_OPTIONS}")
        if split is not None or index is not None:
            task_id = self._task_at(task_id, split, read_number(index))
        request = EpisodeRequest(task_id, read_number(seed), episode_id, rubric, read_flag(resume), fork_from)
        opened = await self._book.open(request)
        if self._open is not None:
            self._open.close()
        self._loop = asyncio.get_running_loop()
        self._open = opened
        self.rubric = opened.episode.reward
        self._reset_rubric()
        return reset_observation(opened)

    def _task_at(self, task_id: object, split: object, index: object) -> str:
        """The id of a task that a reset names by its place in the task API."""
        if task_id is not None:
            raise ResetError(f"name a task by task_id or by split and index, not by both: got {shown(task_id)}")
        if split not in {None, _SPLIT} or isinstance(index, bool) or not isinstance(index, int | None):
            raise ResetError(f"split must be {_SPLIT} and index a whole number, got {shown(split)}, {shown(index)}")
        try:
            return str(self.get_task(_SPLIT, index or 0)["id"])
        except IndexError as error:
            raise ResetError(str(error)) from error

    # Steps.

    def step(self, /, action: Action, timeout_s: float | None = None, **options: Any) -> Observation:
        """Carry out an action; see `step_async`."""
        observation = self._run_on_loop(self.step_async(action, timeout_s, **options))
        # The page at /web draws its forms of what it is told here, when the server is built and nothing is played.
        if isinstance(observation, ListToolsObservation) and self._open is None:
            return for_forms(observation)
        return observation

    async def step_async(self, /, action: Action, timeout_s: float | None = None, **options: Any) -> Observation:
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
        with progress_frames(_progress_wanted(action)):
            observation = await super().step_async(action, self._book.limits.call_s + _STEP_MARGIN_S)
        if isinstance(observation, CallToolObservation):
            reply = getattr(observation.result, "data", None)
            observation.reward = reply["reward"] if isinstance(reply, dict) else 0.0
            observation.done = self._open is not None and self._open.episode.done
            observation.metadata = {"step_count": self._open.step_count if self._open else 0}
        return observation

    def _step_impl(self, /, action: Action, timeout_s: float | None = None, **options: Any) -> Observation:
        raise ValueError(f"expected a tool call, got {type(action).__name__}")

    async def call(self, tool: str, arguments: dict[str, Any]) -> Reply:
        """Carry out a call of a tool.

        Raises:
            ToolError: It was refused, or failed.
        """
        if self._open is None:
            raise mistake("there is no episode: call reset first (with resume=true to go on with an earlier one)")
        return await carry_out(self._open, tool, arguments)

    async def _refused(self, tool: str, arguments: dict[str, Any], message: str) -> None:
        if self._open is not None:
            await self._open.refuse(tool, arguments, message)

    async def _async_call_tool(self, tool_name: str, arguments: dict[str, Any]) -> CallToolResult:
        """Call a tool directly. OpenEnv's own way, an MCP connection in memory, takes longer than most calls.

        OpenEnv's clients and its page read `data`, so the reply is there alone, not in the content too.
        """
        with _playing_in(self), self.watched():
            result = await self._require_mcp_server().call_tool(tool_name, arguments)
        return CallToolResult([], None, meta=result.meta, data=result.structured_content, is_error=False)

    def watched(self) -> AbstractContextManager[None]:
        """Around a call: it stops at its next batch if whoever made it goes away meanwhile."""
        connection = current_connection()
        return connection.when_gone(self._interrupt) if connection else nullcontext()

    def _interrupt(self) -> None:
        if self._open is not None:
            self._open.interrupt("the client has gone")

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
        if self._open is None:
            return MLTrainerState(step_count=0)
        episode = self._open.episode
        return MLTrainerState(
            episode_id=episode.episode_id,
            step_count=self._open.step_count,
            task_id=episode.task.id,
            seed=episode.seed,
            rubric=episode.rubric_version,
            done=episode.done,
            status=training_status(episode.history, episode.task.budget, episode.learning_rate),
            configuration=asdict(episode.config),
            weights_hash=episode.weights_hash,
        )

    def get_metadata(self) -> EnvironmentMetadata:
        """What this environment is."""
        return EnvironmentMetadata(name="ml_trainer_env", description=DESCRIPTION, version=VERSION)

    def close(self) -> None:
        """End the session: a call under way stops at its next batch. The episode can be resumed."""
        if self._open is not None:
            self._open.close()
            self._open = None  # contexts that libraries hold on to must not hold on to models
        super().close()

    def list_splits(self) -> list[dict[str, str]]:
        """The one split."""
        return [{"name": _SPLIT, "type": "train"}]

    def list_tasks(self, split: str) -> list[dict[str, Any]]:
        """The tasks of a split, none for a split there is not."""
        return task_rows() if split == _SPLIT else []

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
        return episode_page(self._open.episode) if self._open is not None else None

    def web_actions(self, observation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """Useful next calls, for the page at /web."""
        return one_click_actions(self._open.episode) if self._open is not None else []


def _progress_wanted(action: Action) -> Callable[[str], Awaitable[None]] | None:
    """How to send progress to the client of an action, None if it did not ask for any or has no WebSocket."""
    connection = current_connection()
    return connection.send_text if connection is not None and action.metadata.get("progress") is True else None


_playing: ContextVar[MLTrainerEnvironment] = ContextVar("playing")


@contextmanager
def _playing_in(environment: MLTrainerEnvironment) -> Iterator[None]:
    """Calls that begin in this context, and in tasks that it begins, are for this environment."""
    before = _playing.set(environment)
    try:
        yield
    finally:
        _playing.reset(before)


async def _call(tool: str, arguments: dict[str, Any]) -> Reply:
    return await _playing.get().call(tool, arguments)


_TOOLS = episode_tools(_call)
"""The tools of all sessions. A call finds the environment it is for by the context that its session runs in."""


class _SessionClient(Client[Any]):
    """The session's MCP connection to its tools, by which OpenEnv lists them and answers JSON-RPC.

    Args:
        server: The session's tools.
        environment: What they are called for.
    """

    def __init__(self, server: Any, environment: MLTrainerEnvironment) -> None:
        super().__init__(server)
        self._environment = environment

    async def __aenter__(self) -> Self:
        """Connect. The tasks that serve this connection begin here, so they inherit whom they serve."""
        with _playing_in(self._environment):
            await super().__aenter__()  # type: ignore[no-untyped-call]
        return self

    async def call_tool(self, *arguments: Any, **options: Any) -> Any:
        """Call a tool. The reply is in `content`, for MCP's readers, and in `data`, for OpenEnv's."""
        with self._environment.watched():
            result = await super().call_tool(*arguments, **options)
        return replace(result, structured_content=None)
