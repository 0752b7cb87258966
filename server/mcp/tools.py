"""The tools of MCP clients: the nine of an episode, and what an agent that has only MCP needs besides."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Annotated, Any

import anyio
from fastmcp import FastMCP
from fastmcp.server.dependencies import get_http_request
from fastmcp.tools import Tool
from fastmcp.tools.base import ToolResult
from mcp.types import ImageContent, TextContent, ToolAnnotations
from pydantic import WithJsonSchema

from ml_trainer_env.models import ResetObservation
from ml_trainer_env.server.datasets import DatasetError
from ml_trainer_env.server.episodes.arguments import read_flag, read_number
from ml_trainer_env.server.episodes.errors import EpisodeError, ResetError
from ml_trainer_env.server.episodes.open_episode import OpenEpisode
from ml_trainer_env.server.episodes.registry import EpisodeRequest
from ml_trainer_env.server.mcp.episode_tools import (
    Boundary,
    carry_out,
    changes,
    episode_tools,
    looks,
    mistake,
    with_common_schema,
)
from ml_trainer_env.server.mcp.progress import report_progress
from ml_trainer_env.server.mcp.schemas import START_SCHEMA, STATUS_SCHEMA, TASKS_SCHEMA, TOOL_SCHEMAS
from ml_trainer_env.server.mcp.sessions import current_session
from ml_trainer_env.server.openenv.descriptions import reset_observation, task_rows
from ml_trainer_env.server.room.curves import curves_png
from ml_trainer_env.server.security.connection import connection_of
from ml_trainer_env.server.store import StoreError
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.observation import Reply
from ml_trainer_env.server.tuning.tasks import TASKS

__all__ = ["build_mcp_server"]

INSTRUCTIONS = """\
Train a real PyTorch model well on a budget of epochs, and with permuted_mnist of seconds of training too. What is spent
never comes back.

1. list_tasks shows the tasks; start_task begins one and tells its budget and target.
2. configure_training sets optimizer, learning rate, schedule and regularisation; what you leave out stays.
3. run_epochs trains, 1 to 20 epochs a call. Read val_accuracy, the gap to train_accuracy and convergence_signal,
   or look at plot_training_curves, and change course: adjust_learning_rate, toggle_augmentation, configure_training,
   save_checkpoint before something risky and restore_checkpoint after it went wrong. After a divergence only
   reinitialize=true or a checkpoint helps.
4. submit_model grades the run and ends the episode. Submit before you stop: a run that is not submitted has no score.

A call that is refused says why and changes nothing. A long call sends progress; if it is cancelled, the epochs
that it completed stay spent. Note the episode_id: after a lost connection, start_task with it and resume=true goes on.
"""


def _text(description: str, *choices: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "description": description, **({"enum": [*choices]} if choices else {})})


_TaskId = Annotated[Any, _text("Which task, easy_mnist if left out", *TASKS)]
_SEED_SCHEMA = {"type": "integer", "minimum": 0, "description": "Fixes all that is random; the task's own if left out"}
_Seed = Annotated[Any, WithJsonSchema(_SEED_SCHEMA)]
_Rubric = Annotated[Any, _text("How the run is graded; the server's default if left out", *RubricVersion)]
_EpisodeId = Annotated[Any, _text("A name for the new episode, or that of the one to resume")]
_Resume = Annotated[Any, WithJsonSchema({"type": "boolean", "description": "Go on with the episode episode_id"})]
_ForkFrom = Annotated[Any, _text("Begin where another stands or stood: episode, episode@checkpoint or episode@epoch")]


def build_mcp_server(version: str) -> FastMCP:
    """The server that answers all MCP clients, each in its own session.

    Args:
        version: What clients are told of it.
    """
    server: FastMCP = FastMCP(
        "ml_trainer_env", instructions=INSTRUCTIONS, version=version, middleware=[Boundary(_refused)]
    )
    for tool in (*_further_tools(), *episode_tools(_call, TOOL_SCHEMAS)):
        server.add_tool(tool)
    return server


def _further_tools() -> tuple[Tool, ...]:
    return (
        _tool(_list_tasks, "list_tasks", looks("Tasks"), TASKS_SCHEMA),
        _tool(_start_task, "start_task", changes("Start a task"), START_SCHEMA),
        _tool(_plot_training_curves, "plot_training_curves", looks("Training curves"), STATUS_SCHEMA),
    )


def _tool(
    function: Callable[..., Awaitable[Any]], name: str, annotations: ToolAnnotations, output_schema: dict[str, Any]
) -> Tool:
    return with_common_schema(
        Tool.from_function(function, name=name, annotations=annotations, output_schema=output_schema)
    )


async def _list_tasks() -> dict[str, Any]:
    """List the tasks: what each is about, its budget of epochs, and its target."""
    return {"tasks": task_rows()}


async def _start_task(
    task_id: _TaskId = None,
    seed: _Seed = None,
    rubric: _Rubric = None,
    episode_id: _EpisodeId = None,
    resume: _Resume = None,
    fork_from: _ForkFrom = None,
) -> ResetObservation:
    """Begin an episode, or go on with one. The episode that was played before is left as it stands.

    resume=true goes on with episode_id after a lost connection. fork_from begins where another
    episode stands; its epochs count as spent.
    """
    request = EpisodeRequest(task_id, read_number(seed), episode_id, rubric, read_flag(resume), fork_from)
    try:
        async with report_progress():  # images may have to be fetched, models to be trained again
            return reset_observation(await current_session().start(request))
    except (ResetError, DatasetError, StoreError) as error:
        raise mistake(str(error)) from error


async def _plot_training_curves() -> ToolResult:
    """Draw loss and accuracy by epoch, training and validation, as a PNG. Costs no epochs, like get_training_status."""
    status = await _call("get_training_status", {})
    episode = _played().episode
    title = f"{episode.task.name}: epoch {episode.history.epochs} of {episode.task.budget_epochs}"
    png = await asyncio.to_thread(curves_png, episode.history, episode.task.budget_epochs, title)
    image = ImageContent(type="image", data=base64.b64encode(png).decode(), mimeType="image/png")
    return ToolResult([TextContent(type="text", text=json.dumps(status)), image], status)


async def _call(tool: str, arguments: dict[str, Any]) -> Reply:
    """Carry out a call, and stop it if its client goes away meanwhile.

    By the protocol a lost connection is no cancellation; but here a call costs budget, and nobody could get its reply.
    """
    played = _played()
    connection = connection_of(get_http_request().scope)
    with anyio.CancelScope() as scope, connection.when_gone(scope.cancel) if connection else nullcontext():
        return await carry_out(played, tool, arguments)
    raise mistake("the client has gone")


async def _refused(tool: str, arguments: dict[str, Any], message: str) -> None:
    opened = current_session().opened
    if opened is not None:
        await opened.refuse(tool, arguments, message)


def _played() -> OpenEpisode:
    try:
        return current_session().played()
    except EpisodeError as error:
        raise mistake(str(error)) from error
