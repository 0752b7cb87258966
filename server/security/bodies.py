"""Limits the size of HTTP request bodies and validates JSON in them."""

import asyncio
from contextlib import suppress

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ml_trainer_env.server.security.addresses import header_values
from ml_trainer_env.server.security.answers import answer
from ml_trainer_env.server.security.json_rules import JsonError, check_json, check_json_rpc, check_step, rpc_error
from ml_trainer_env.server.security.paths import route_path

__all__ = [
    "IMPORT_PATH",
    "MAX_BODY_BYTES",
    "BodyMiddleware",
    "BodyTooLargeError",
    "read_body",
    "replay_body",
]

MAX_BODY_BYTES = 1_000_000
"""Limit for a request body and for a WebSocket message. A tool call has a few hundred bytes."""

MAX_IMPORT_BYTES = 512_000_000
"""Limit for the file of an exported episode, which may have the states of 64 checkpoints."""

IMPORT_PATH = "/episodes/import"

DRAINED_BYTES = 8_000_000
DRAIN_S = 1.0
"""How much of a refused body is read and discarded at most, in bytes and in seconds."""

RPC_PATH = "/mcp"
STEP_PATH = "/step"


class BodyTooLargeError(ValueError):
    """A body exceeds the limit. The message names the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a request's body may have {limit:,} bytes at the most")


class BodyMiddleware:
    """Refuses bodies over a limit (413) and JSON that the server cannot handle (422)."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read and check the body, then pass it on as one message."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
            if body is None:
                return
            _check(scope, body)
        except BodyTooLargeError as error:
            # The body may not be read to its end, so the connection cannot be reused.
            refusal = JSONResponse({"detail": str(error)}, 413, {"Connection": "close"})
            await answer(refusal, scope, receive, _drain_after_response(receive, send))
        except JsonError as error:
            await answer(_refusal(scope, error), scope, receive, send)
        else:
            await self._app(scope, replay_body(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        limit = MAX_IMPORT_BYTES if route_path(scope) == IMPORT_PATH else self._limit
        announced = header_values(scope, b"content-length")
        if announced and announced[0].isdigit() and int(announced[0]) > limit:
            raise BodyTooLargeError(limit)
        return await read_body(receive, limit)


def _drain_after_response(receive: Receive, send: Send) -> Send:
    """Return a `send` that reads some of the remaining body before it ends the response.

    The system resets a connection that is closed with unread data. Then a client that is still sending may never see
    the response.
    """

    async def drain() -> None:
        left = DRAINED_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while left > 0:
                    message = await receive()
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        return
                    left -= len(message.get("body", b""))

    async def send_then_drain(message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            await send({**message, "more_body": True})
            await drain()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await send(message)

    return send_then_drain


async def read_body(receive: Receive, limit: int) -> bytes | None:
    """Read the whole body of a request. Return None if the client disconnects first.

    Raises:
        BodyTooLargeError: The body has more bytes than the limit. The rest has not been read.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > limit:
            raise BodyTooLargeError(limit)
        if not message.get("more_body", False):
            return bytes(body)


def replay_body(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that returns the body first and later messages after it."""
    rest: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return rest.pop() if rest else await receive()

    return replay


def _check(scope: Scope, body: bytes) -> None:
    if _is_rpc(scope):
        check_json_rpc(body)
    elif body and any(_is_json(value) for value in header_values(scope, b"content-type")):
        if route_path(scope) == STEP_PATH:
            check_step(body)
        else:
            check_json(body, allow_nan=False)


def _is_rpc(scope: Scope) -> bool:
    return bool(route_path(scope) == RPC_PATH and scope["method"] == "POST")


def _is_json(content_type: bytes) -> bool:
    name = content_type.partition(b";")[0].strip().lower()
    return name == b"application/json" or name.endswith(b"+json")


def _refusal(scope: Scope, error: JsonError) -> Response:
    if _is_rpc(scope):
        return JSONResponse(rpc_error(error))
    return JSONResponse({"detail": str(error)}, 422)
