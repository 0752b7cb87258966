"""MCP over Streamable HTTP at `/mcp`. OpenEnv's JSON-RPC has the same address.

Only MCP clients send the id of a session or accept an event stream. A POST without either goes to OpenEnv. Other
methods without a session id get status 405, as MCP requires.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.types import INTERNAL_ERROR
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ml_trainer_env.server.episodes.registry import EpisodeRegistry
from ml_trainer_env.server.mcp.sessions import McpSessions
from ml_trainer_env.server.room.picture import Picture
from ml_trainer_env.server.security.paths import route_path

__all__ = ["McpEndpoint", "McpSwitch"]

MCP_PATH = "/mcp"
FULL = 503

CROWDED = 0.9
"""Share of `max_sessions` from which the server ends unused sessions."""

UNUSED_S = 60.0
"""Seconds without a message after which a session without an episode counts as unused."""

_SDK_LOGGERS = ("mcp.server.lowlevel.server", "mcp.server.streamable_http", "mcp.server.streamable_http_manager")


class McpEndpoint:
    """Answers the requests of MCP clients while `running`.

    Args:
        registry: Opens episodes.
        picture: Draws episodes. None for a game without a picture.
        max_sessions: Limit for the number of sessions.
        idle_timeout_s: A session ends after this many seconds without a request, a running call or an open event
            stream.

    Attributes:
        sessions: The open sessions.
    """

    def __init__(
        self, registry: EpisodeRegistry, picture: Picture | None, max_sessions: int, idle_timeout_s: float
    ) -> None:
        # FastMCP's own HTTP server has no limit of sessions and no time-out, so `running` creates the manager.
        self.sessions = McpSessions(registry, picture)
        self._max_sessions = max_sessions
        self._idle_timeout_s = idle_timeout_s
        self._manager: StreamableHTTPSessionManager | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Accept requests within the block. At its end all sessions end and their calls are recorded."""
        for name in _SDK_LOGGERS:
            logging.getLogger(name).addFilter(_should_log)
        server: Any = self.sessions
        self._manager = StreamableHTTPSessionManager(
            server, session_idle_timeout=self._idle_timeout_s, max_sessions=self._max_sessions
        )
        async with self._manager.run():
            try:
                yield
            finally:
                await self.sessions.close()
        self._manager = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if self._manager is None:
            raise RuntimeError("the endpoint is not running: the application's lifespan has not begun, or has ended")
        if "mcp-session-id" not in Headers(scope=scope) and len(self.sessions) >= CROWDED * self._max_sessions:
            self.sessions.end_unused(UNUSED_S)  # makes room for new sessions
        is_full = is_unfinished = False

        async def send_unless_full(message: Message) -> None:
            nonlocal is_full, is_unfinished
            is_full = is_full or message.get("status") == FULL
            if not is_full:
                is_unfinished = message["type"] == "http.response.start" or message.get("more_body", False)
                await send(message)

        await self._manager.handle_request(scope, receive, send_unless_full)
        if is_full:
            await self._full()(scope, receive, send)
        elif is_unfinished:  # the manager leaves event streams unfinished when the server stops
            await send({"type": "http.response.body", "body": b""})

    def _full(self) -> JSONResponse:
        """Answer that names the limit. The manager's own answer does not."""
        message = (
            f"the server has {self._max_sessions} MCP sessions already, and takes no more: close one (DELETE), or try "
            "again later; ML_TRAINER_MAX_SESSIONS sets the limit"
        )
        error = {"code": INTERNAL_ERROR, "message": message}
        return JSONResponse({"jsonrpc": "2.0", "id": "server-error", "error": error}, FULL, {"Retry-After": "60"})


class McpSwitch:
    """Sends requests of MCP clients to the endpoint, and other requests to the application.

    Args:
        app: The application.
        endpoint: The endpoint.
    """

    def __init__(self, app: ASGIApp, endpoint: ASGIApp) -> None:
        self._app = app
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a request."""
        await (self._endpoint if _is_mcp(scope) else self._app)(scope, receive, send)


def _is_mcp(scope: Scope) -> bool:
    if scope["type"] != "http" or route_path(scope) != MCP_PATH:
        return False
    headers = Headers(scope=scope)
    return "mcp-session-id" in headers or (
        scope["method"] == "POST" and any("text/event-stream" in value for value in headers.getlist("accept"))
    )


def _should_log(record: logging.LogRecord) -> bool:
    """Whether a record of the SDK's loggers is logged.

    Ids of sessions are not logged, because they give access to the sessions. The traceback at the end of a session with
    an open event stream is not logged, because most sessions end so.
    """
    return record.levelno > logging.INFO and not (
        record.exc_info and isinstance(record.exc_info[1], anyio.ClosedResourceError)
    )
