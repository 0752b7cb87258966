"""The OpenEnv environment: between OpenEnv's sessions and a session of ours."""

import asyncio
import json
import logging
from collections.abc import Coroutine
from contextlib import nullcontext
from typing import Any, Self, TypeVar

from fastmcp import FastMCP
from fastmcp.client.client import CallToolResult
from mcp.types import TextContent
from mcp.types import Tool as MCPTool
from openenv.core.env_server.mcp_environment import MCPEnvironment
from openenv.core.env_server.mcp_types import (
    CallToolAction,
    CallToolObservation,
    ToolError,
    ToolErrorType,
)
from openenv.core.env_server.types import Action, EnvironmentMetadata, Observation, State
from openenv.core.utils import run_async_safely
from pydantic import TypeAdapter

from ml_trainer_env.server.episodes.arguments import read_flag, read_number
from ml_trainer_env.server.episodes.errors import EpisodeError, ResetError
from ml_trainer_env.server.episodes.progress import OnProgress, Progress, SendProgress, ignore_progress, relay_progress
from ml_trainer_env.server.episodes.registry import EpisodeRegistry, EpisodeRequest
from ml_trainer_env.server.episodes.session import Session
from ml_trainer_env.server.episodes.tools import Reply
from ml_trainer_env.server.mcp.adapter import listed_tools
from ml_trainer_env.server.security.connection import current_connection
from ml_trainer_env.server.trainer.errors import ConfigError
from ml_trainer_env.server.trainer.limits import shown

__all__ = ["GameEnvironment"]

_LOG = logging.getLogger(__name__)

_CALL_MARGIN_S = 60.0
"""The episode stops a call at its time limit. OpenEnv's own limit is this many seconds later."""

_RESET_OPTIONS = "task_id, seed, episode_id, rubric, resume, fork_from, split, index, agent"

_SPLIT_TYPES = {"train", "validation", "test"}

NO_EPISODE = "there is no episode: call reset first (with resume=true to go on with an earlier one)"

_JSON: TypeAdapter[Reply] = TypeAdapter(Reply)

Result = TypeVar("Result")


class GameEnvironment(MCPEnvironment):
    """An OpenEnv environment that plays one game.

    Actions are `CallToolAction` with one of the game's tools, and `ListToolsAction`. The game defines observations,
    rewards, and the start and end of an episode; see `tuning.game.TuningGame`. `reset(episode_id, resume=True)` resumes
    an episode. `reset(fork_from)` begins from the state of another episode.

    Args:
        registry: Opens episodes.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, registry: EpisodeRegistry) -> None:
        super().__init__(_NO_TOOLS)
        self._session = Session(registry, NO_EPISODE)
        self._game = registry.game
        self._call_limit_s = registry.limits.call_s + _CALL_MARGIN_S
        self._loop: asyncio.AbstractEventLoop | None = None
        self.mcp_client: Any = _JsonRpcTools(self)

    # Reset.

    def reset(self, /, seed: int | None = None, episode_id: str | None = None, **options: Any) -> Observation:
        """Begin an episode; see `reset_async`."""
        return self._run_on_loop(self.reset_async(seed, episode_id, **options))

    async def reset_async(
        self,  # OpenEnv passes a request's keys by name, so that `self` can be one of them
        /,
        seed: int | None = None,
        episode_id: str | None = None,
        task_id: str | None = None,
        rubric: str | None = None,
        resume: bool | None = None,
        fork_from: str | None = None,
        split: str | None = None,
        index: int | None = None,
        agent: str | None = None,
        **unknown: Any,
    ) -> Observation:
        """Begin, resume or fork an episode.

        Args:
            seed: Seed of all randomness. None for the task's own seed.
            episode_id: The episode's name. None for a new one.
            task_id: The task. None for the game's default.
            rubric: Name of the formulas that reward and grade. None for the server's default.
            resume: Whether to resume the episode `episode_id`, after a lost connection or a restart.
            fork_from: The state of another episode to begin from: `<episode>`, `<episode>@<checkpoint>` or
                `<episode>@<epoch>`. Its epochs count as spent.
            split: With `index`, names a task by its position in the task API.
            index: See `split`.
            agent: The name of who plays, for people who watch: up to 64 printable characters.
            unknown: Unknown options. They are refused, so that a misspelt option is noticed.

        Raises:
            ResetError: An option is unknown or its value does not exist.
            DatasetError: The task's data is not available.
            StoreError: The journal cannot be read or written.
        """
        if unknown:
            raise ResetError(f"unknown reset option {shown(next(iter(unknown)))}; the options are {_RESET_OPTIONS}")
        if split is not None or index is not None:
            task_id = self._task_at(task_id, split, read_number(index))
        request = EpisodeRequest(task_id, read_number(seed), episode_id, rubric, read_flag(resume), fork_from, agent)
        observation = await self._session.start(request)
        self._loop = asyncio.get_running_loop()
        self.rubric = self._session.require_open().episode.reward
        self._reset_rubric()
        return observation

    def _task_at(self, task_id: object, split: object, index: object) -> str:
        """Return the id of a task that a reset names by its position in the task API."""
        splits = self._game.splits
        if task_id is not None:
            raise ResetError(f"name a task by task_id or by split and index, not by both: got {shown(task_id)}")
        if split not in {None, *splits} or isinstance(index, bool) or not isinstance(index, int | None):
            raise ResetError(
                f"split must be {' or '.join(splits)} and index a whole number, got {shown(split)}, {shown(index)}"
            )
        try:
            return str(self._game.task_row(str(split or splits[0]), index or 0)["id"])
        except IndexError as error:
            raise ResetError(str(error)) from error

    # Steps.

    def step(self, /, action: Action, timeout_s: float | None = None, **options: Any) -> Observation:
        """Carry out an action; see `step_async`."""
        return self._run_on_loop(self.step_async(action, timeout_s, **options))

    async def step_async(self, /, action: Action, timeout_s: float | None = None, **options: Any) -> Observation:
        """Carry out an action.

        Reward and done are those of the tool's reply. They are the same on every surface.

        Args:
            action: A tool call or a request for the list of tools.
            timeout_s: Not used. The server's own limits stop training.
            options: Not used.
        """
        if not isinstance(action, CallToolAction):
            return await super().step_async(action)
        # `step` may be called in another thread. It must run on the episode's event loop.
        self._loop = self._loop or asyncio.get_running_loop()
        reward, result, error = 0.0, None, None
        try:
            async with asyncio.timeout(self._call_limit_s), relay_progress(_progress_sender(action)) as on_progress:
                reply = await self.call(action.tool_name, action.arguments, on_progress, _reason_of(action))
            reward, result = reply["reward"], CallToolResult([], None, meta=None, data=reply, is_error=False)
        except TimeoutError:
            message = f"Tool '{action.tool_name}' timed out after {self._call_limit_s} seconds"
            error = ToolError(error_type=ToolErrorType.TIMEOUT, message=message)
        except Exception as refusal:  # OpenEnv's clients receive it in the observation
            error = ToolError(error_type=_error_type(str(refusal)), message=str(refusal))
        opened = self._session.opened
        return CallToolObservation(
            tool_name=action.tool_name,
            result=result,
            error=error,
            reward=reward,
            done=opened is not None and opened.episode.done,
            metadata={"step_count": opened.step_count if opened else 0},
        )

    def _step_impl(self, /, action: Action, timeout_s: float | None = None, **options: Any) -> Observation:
        raise ValueError(f"expected a tool call, got {type(action).__name__}")

    async def call(
        self,
        tool: str,
        given: dict[str, Any],
        on_progress: OnProgress = ignore_progress,
        reason: str | None = None,
    ) -> Reply:
        """Carry out a call of a tool. If the client disconnects, the call stops at the next batch.

        Raises:
            EpisodeError: The call was refused or failed.
            ConfigError: An argument is out of bounds.
            RuntimeError: The call failed because of a bug. The bug is logged.
        """
        connection = current_connection()
        with connection.on_disconnect(self._interrupt) if connection else nullcontext():
            try:
                return await self._session.call(tool, given, on_progress, reason)
            except (EpisodeError, ConfigError):
                raise
            except Exception as error:
                _LOG.exception("a call of %s failed", tool)
                raise RuntimeError(f"Error calling tool {tool!r}: {error}") from error

    async def _async_list_tools(self) -> list[MCPTool]:
        return listed_tools(self._game.tools)

    def _interrupt(self) -> None:
        self._session.interrupt("the client has gone")

    def _run_on_loop(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine from synchronous code, on the episode's event loop if that runs."""
        loop = self._loop
        if loop is not None and loop.is_running():
            return asyncio.run_coroutine_threadsafe(work, loop).result()
        result: Result = run_async_safely(work)
        return result

    # OpenEnv's other methods.

    @property
    def state(self) -> State:
        """The episode's state. It contains no figures of held-out data."""
        opened = self._session.opened
        if opened is None:
            return self._game.state_model(step_count=0)
        episode, start = opened.episode, opened.episode.start
        fields = {
            "episode_id": episode.name,
            "step_count": opened.step_count,
            "task_id": start.task,
            "seed": start.seed,
            "rubric": start.rubric,
            "done": episode.done,
            **episode.snapshot(),
        }
        return self._game.state_model(**fields)

    def get_metadata(self) -> EnvironmentMetadata:
        """Return name, description and version of the environment."""
        about = self._game.about
        return EnvironmentMetadata(name=about.name, description=about.description, version=about.version)

    def close(self) -> None:
        """End the session. A running call stops at the next batch. The episode can be resumed."""
        self._session.close()
        super().close()

    def list_splits(self) -> list[dict[str, str]]:
        """List the splits of the game's tasks. OpenEnv knows three types of splits."""
        splits = self._game.splits
        return [{"name": split, "type": split if split in _SPLIT_TYPES else "validation"} for split in splits]

    def list_tasks(self, split: str) -> list[dict[str, Any]]:
        """List the tasks of a split. Empty for an unknown split."""
        return self.get_task_range(split, None, None)

    def num_tasks(self, split: str) -> int:
        """Return the number of tasks of a split."""
        return self._game.task_count(split)

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        """Return one of the tasks that `list_tasks` lists.

        A game may have more tasks that only `reset` knows.

        Raises:
            IndexError: The list has no task with this index.
        """
        count = self._game.task_count(split)
        if not 0 <= index < count:
            raise IndexError(f"there is no task {index} in the list of {split!r}, which has {count} tasks")
        return self._game.task_row(split, index)

    def get_task_range(self, split: str, start: int | None, stop: int | None) -> list[dict[str, Any]]:
        """Return the tasks from `start` up to `stop`, without `stop`.

        Raises:
            IndexError: One of the two is negative.
        """
        if min(start or 0, stop or 0) < 0:
            raise IndexError("start and stop must not be negative")
        indices = range(self._game.task_count(split))[slice(start, stop)]
        return [self._game.task_row(split, index) for index in indices]


class _JsonRpcTools:
    """Lists and calls the environment's tools for OpenEnv's JSON-RPC. It takes the place of an MCP client.

    Args:
        environment: Carries out calls.
    """

    def __init__(self, environment: GameEnvironment) -> None:
        self._environment = environment

    async def __aenter__(self) -> Self:
        """Nothing is opened."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is closed."""

    def is_connected(self) -> bool:
        """Always true."""
        return True

    async def list_tools(self) -> list[MCPTool]:
        """List the tools."""
        return await self._environment._async_list_tools()

    async def call_tool(self, name: str, arguments: dict[str, Any] | None) -> CallToolResult:
        """Call a tool. The reply is in `content` for MCP clients, and in `data` for OpenEnv's clients."""
        reply = await self._environment.call(name, arguments or {})
        text = TextContent(type="text", text=_JSON.dump_json(reply).decode())
        return CallToolResult([text], None, meta=None, data=reply, is_error=False)


_NO_TOOLS: FastMCP = FastMCP("ml_trainer_env")
"""OpenEnv's base class requires a server. It has no tools: the environment lists and calls them."""


def _error_type(message: str) -> ToolErrorType:
    """Return the type of an error. OpenEnv's own environments find it by the same words."""
    words = message.lower()
    if "not found" in words or "unknown tool" in words:
        return ToolErrorType.TOOL_NOT_FOUND
    if "invalid" in words or "argument" in words:
        return ToolErrorType.INVALID_ARGS
    return ToolErrorType.EXECUTION_ERROR


def _reason_of(action: CallToolAction) -> str | None:
    """Return why the agent makes a call: the text `reason` of the action's metadata. None without one."""
    reason = action.metadata.get("reason")
    return reason if isinstance(reason, str) and reason else None


def _progress_sender(action: CallToolAction) -> SendProgress | None:
    """Return a function that sends progress over the WebSocket. None if the client did not ask for it or has none.

    A frame is `{"type": "progress", "data": {"epochs": 3, "total": 10, "message": "..."}}`. It precedes the answer.
    """
    connection = current_connection()
    send_text = connection.send_text if connection else None
    if send_text is None or action.metadata.get("progress") is not True:
        return None

    async def send(progress: Progress | None) -> None:
        if progress is not None:
            data = {"epochs": progress.done, "total": progress.total, "message": progress.message}
            await send_text(json.dumps({"type": "progress", "data": data}))

    return send
