"""Bodies of requests: none is larger than the service wants to hold, or comes more slowly than it wants to wait.

Where files are taken, the endpoint reads the body itself, when it knows who sends it: see `files.uploads`.
"""

import asyncio
import re

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ml_trainer_env.server.security.bodies import BodyTooLargeError, read_body, replay_body

__all__ = ["MAX_BODY_BYTES", "BodyLimit"]

MAX_BODY_BYTES = 2**20
"""The largest is a competition's page: 50,000 characters, and what JSON makes of them."""

_WAIT_S = 60.0

_FILES = re.compile(
    r"/api/direct_attache_agents/competition/\d+/\d+/file"
    r"|/api/creator_competition/competition/\d+/(env/files|benchmark/files|image)"
)


class BodyLimit:
    """Reads a body up to the limit and hands it on, except where files are taken."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http" or _FILES.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(_WAIT_S):
                body = await read_body(receive, MAX_BODY_BYTES)
        except (BodyTooLargeError, TimeoutError) as error:
            status, words = (408, "the body did not come") if isinstance(error, TimeoutError) else (413, str(error))
            await JSONResponse({"error": words}, status, {"Connection": "close"})(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, replay_body(body, receive), send)
