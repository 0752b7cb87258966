"""The tools of MCP clients: those of the game, and tools to list tasks, start episodes and draw them."""

import asyncio
import base64
import json
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import anyio
from fastmcp import FastMCP
from fastmcp.exceptions import NotFoundError
from fastmcp.server.dependencies import get_context, get_http_request
from fastmcp.server.middleware import Middleware
from fastmcp.tools.base import ToolResult
from mcp.types import ImageContent, TextContent

from ml_trainer_env.server.datasets import DatasetError
from ml_trainer_env.server.episodes.arguments import read_number
from ml_trainer_env.server.episodes.errors import EpisodeError, ResetError
from ml_trainer_env.server.episodes.game import Game
from ml_trainer_env.server.episodes.progress import Progress, SendProgress, ignore_progress, relay_progress
from ml_trainer_env.server.episodes.registry import EpisodeRequest
from ml_trainer_env.server.episodes.schemas import plain_schema
from ml_trainer_env.server.episodes.session import Session
from ml_trainer_env.server.episodes.tools import (
    Arguments,
    Effect,
    Parameter,
    Reply,
    Tool,
    Toolbox,
    choice,
    flag,
    number,
    text,
)
from ml_trainer_env.server.mcp.adapter import ToolCall, bind_tool, tool_error
from ml_trainer_env.server.room.picture import Picture
from ml_trainer_env.server.security.connection import connection_of
from ml_trainer_env.server.store import StoreError
from ml_trainer_env.server.trainer.errors import ConfigError
from ml_trainer_env.server.trainer.limits import Limit, check_choice

__all__ = ["build_mcp_server"]

_PAGE = 20
_START = Limit(0, 2**31 - 1, whole=True)
_COUNT = Limit(1, 100, whole=True)

HEARTBEAT_STEP = 0.0001
"""Increase of the progress value by a heartbeat. MCP requires that every progress value exceeds the last."""


def build_mcp_server(session: Session, picture: Picture | None = None) -> FastMCP:
    """Create the MCP server of one session.

    Args:
        session: The session.
        picture: Draws episodes. None for a game without a picture.
    """
    game = session.registry.game
    client = _Client(session, picture)
    server: FastMCP = FastMCP(
        game.about.name,
        instructions=game.about.instructions,
        version=game.about.version,
        middleware=[_UnknownTools(session)],
    )
    own = Toolbox(_list_tasks(game), _start_task(game), *([_plot(game, picture)] if picture else []))
    for tool in own:
        server.add_tool(bind_tool(tool, client.carry_out_with(tool)))
    for tool in game.tools:
        server.add_tool(bind_tool(tool, client.call))
    return server


class _Client:
    """The client of one session. Its tools are carried out here."""

    def __init__(self, session: Session, picture: Picture | None) -> None:
        self.session = session
        self._picture = picture

    async def call(self, tool: str, given: Mapping[str, Any]) -> Reply:
        """Carry out a call of a game's tool. If the client disconnects, the call stops.

        In MCP a lost connection does not cancel a call. But here a call costs budget, and its reply would be lost.

        Raises:
            ToolError: The call was refused or failed.
        """
        connection = connection_of(get_http_request().scope)
        with anyio.CancelScope() as scope, connection.on_disconnect(scope.cancel) if connection else nullcontext():
            try:
                async with relay_progress(_progress_sender()) as on_progress:
                    return await self.session.call(tool, given, on_progress, _reason())
            except (EpisodeError, ConfigError) as error:
                raise tool_error(str(error)) from error
        raise tool_error("the client has gone")

    def carry_out_with(self, tool: "Tool[_Client]") -> ToolCall:
        """Return a function that carries out calls of a tool that is not the game's."""

        async def call(_: str, given: dict[str, Any]) -> Reply | ToolResult:
            try:
                arguments = await self.session.read(tool, given)
            except EpisodeError as error:
                raise tool_error(str(error)) from error
            return await tool.carry_out(self, arguments, ignore_progress)

        return call

    async def list_tasks(self, given: Arguments) -> Reply:
        """List one page of the tasks of a split.

        Raises:
            ToolError: There is no such page.
        """
        game = self.session.registry.game
        split = str(given.get("split", game.splits[0]))
        try:
            start = int(_START.check("start", given.get("start", 0)))
            count = int(_COUNT.check("count", given.get("count", _PAGE)))
            check_choice("split", split, tuple(game.splits))
        except ConfigError as error:
            raise tool_error(str(error)) from error
        total = game.task_count(split)
        rows = [game.task_row(split, index) for index in range(start, min(start + count, total))]
        counts = {one: game.task_count(one) for one in game.splits}
        return {"tasks": rows, "split": split, "total": total, "splits": counts}

    async def start_task(self, given: Arguments) -> Reply:
        """Begin, resume or fork an episode.

        Raises:
            ToolError: The request was refused.
        """
        try:
            async with relay_progress(_progress_sender()):  # a download or a replay may take long
                observation = await self.session.start(EpisodeRequest(**given))
        except (ResetError, DatasetError, StoreError) as error:
            raise tool_error(str(error)) from error
        return observation.model_dump(mode="json")

    async def plot(self) -> ToolResult:
        """Draw the episode. The result also contains the reply of a tool that only reads."""
        assert self._picture is not None
        reply = await self.call(self._picture.beside, {})
        png = await asyncio.to_thread(self._picture.draw, self.session.require_open().episode)
        image = ImageContent(type="image", data=base64.b64encode(png).decode(), mimeType="image/png")
        return ToolResult([TextContent(type="text", text=json.dumps(reply)), image], reply)


class _UnknownTools(Middleware):
    """Forwards calls of unknown tools to the session. The session refuses and records them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def on_call_tool(self, context: Any, call_next: Any) -> Any:
        """Forward a call."""
        try:
            return await call_next(context)
        except NotFoundError:
            try:
                await self._session.call(context.message.name, context.message.arguments or {}, reason=_reason())
            except EpisodeError as error:
                raise tool_error(str(error)) from error
            raise


def _list_tasks(game: Game) -> Tool[_Client]:
    properties = {
        "tasks": {"type": "array", "items": dict(game.task_schema)},
        "split": {"type": "string"},
        "total": {"type": "integer", "description": "Number of tasks of the split"},
        "splits": {"type": "object", "description": "All splits, each with its number of tasks"},
    }
    return Tool(
        "list_tasks",
        "Tasks",
        "List the tasks of a split: what each is about, its budget of epochs, and its target.",
        Effect(reads_only=True, idempotent=True),
        lambda client, given, _: client.list_tasks(given),
        {
            "split": choice(game.splits, f"Which split, {game.splits[0]} if left out"),
            "start": number(_START, "Index of the first task, 0 if left out"),
            "count": number(_COUNT, f"Number of tasks, {_PAGE} if left out"),
        },
        {"type": "object", "properties": properties, "required": ["tasks"]},
    )


def _start_task(game: Game) -> Tool[_Client]:
    seed = {"type": "integer", "minimum": 0, "description": "Fixes all that is random; the task's own if left out"}
    return Tool(
        "start_task",
        "Start a task",
        "Begin an episode, or go on with one. The episode that was played before is left as it stands.\n\n"
        "resume=true goes on with episode_id after a lost connection. fork_from begins where another\n"
        "episode stands; its epochs count as spent.",
        Effect(),
        lambda client, given, _: client.start_task(given),
        {
            "task_id": text(f"The id of a task, as list_tasks shows it; {game.default_task} if left out"),
            "seed": Parameter(seed, read=read_number),
            "rubric": choice(game.rubrics, "How the run is graded; the server's default if left out"),
            "episode_id": text("A name for the new episode, or that of the one to resume"),
            "resume": flag("Go on with the episode episode_id"),
            "fork_from": text("Begin where another stands or stood: episode, episode@checkpoint or episode@epoch"),
            "agent": text("Your name, for people who watch: up to 64 characters"),
        },
        plain_schema(game.reset_model),
    )


def _plot(game: Game, picture: Picture) -> Tool[_Client]:
    return Tool(
        picture.name,
        picture.title,
        picture.description,
        Effect(reads_only=True, idempotent=True),
        lambda client, _, __: client.plot(),
        reply_schema=game.tools.find(picture.beside).reply_schema,
    )


def _reason() -> str | None:
    """Return why the agent makes the current call: the text `reason` of the request's `_meta`. None without one."""
    request = get_context().request_context
    meta = (request.meta.model_extra if request and request.meta else None) or {}
    reason = meta.get("reason")
    return reason if isinstance(reason, str) and reason else None


def _progress_sender() -> SendProgress:
    """Return a function that sends progress to the client of the current MCP request."""
    context = get_context()
    done, total, message = 0.0, None, "working"

    async def send(progress: Progress | None) -> None:
        nonlocal done, total, message
        done = round(done + HEARTBEAT_STEP, 4)
        if progress is not None:
            done, total, message = max(progress.done, done), progress.total, progress.message
        await context.report_progress(done, total, message)

    return send
