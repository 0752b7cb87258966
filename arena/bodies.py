"""Limits for request bodies: size and time.

Upload endpoints are exempt. They authenticate the caller first, and then read the body with `files.uploads`.
"""

import asyncio
import re

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ml_trainer_env.server.security.bodies import BodyTooLargeError, read_body, replay_body

__all__ = ["MAX_BODY_BYTES", "BodyLimit"]

MAX_BODY_BYTES = 2**20
"""The largest body is the page of a competition: 50,000 characters, escaped as JSON."""

_WAIT_S = 60.0

_FILES = re.compile(
    r"/api/direct_attache_agents/competition/\d+/\d+/file"
    r"|/api/creator_competition/competition/\d+/(env/files|benchmark/files|image|datasets/\d+/files)"
    r"|/api/submissions/challenge/\d+/\d+/file"
    r"|/api/creator_challenge/challenge/\d+/(env/files|benchmark/files|image|datasets/\d+/files)"
    r"|/competitions/\d+/submit"
    r"|/submissions/\d+/files"
    r"|/api/teacher/(lessons/\d+/media|course/\d+/cover)"
)


class BodyLimit:
    """Middleware that reads a body up to the limit and then passes the request on. Skips upload endpoints."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http" or _FILES.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(_WAIT_S):
                body = await read_body(receive, MAX_BODY_BYTES)
        except (BodyTooLargeError, TimeoutError) as error:
            status, message = (408, "the body did not come") if isinstance(error, TimeoutError) else (413, str(error))
            await JSONResponse({"error": message}, status, {"Connection": "close"})(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, replay_body(body, receive), send)
