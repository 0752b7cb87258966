"""Bodies of requests that are no files: none is larger than the service wants to hold. Files have `uploads`."""

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ml_trainer_env.server.doors.addresses import header_values
from ml_trainer_env.server.doors.bodies import BodyTooLargeError, read_body, replay_body

__all__ = ["MAX_BODY_BYTES", "BodyLimit"]

MAX_BODY_BYTES = 8 * 2**20
"""The largest is a file of a competition sent as JSON: 2 MB of text, and what JSON makes of it."""

_FILE_PATHS = ("/file", "/files", "/image")
"""Ends of the paths where files are taken; elsewhere a form with a file is a body like any other."""


class BodyLimit:
    """Reads a body up to the limit and hands it on; forms with files pass where they are read piece by piece."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http" or _is_file(scope):
            await self._app(scope, receive, send)
            return
        try:
            body = await read_body(receive, MAX_BODY_BYTES)
        except BodyTooLargeError as error:
            await JSONResponse({"error": str(error)}, 413, {"Connection": "close"})(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, replay_body(body, receive), send)


def _is_file(scope: Scope) -> bool:
    kind = next(iter(header_values(scope, b"content-type")), b"")
    return str(scope["path"]).endswith(_FILE_PATHS) and kind.startswith(b"multipart/")
