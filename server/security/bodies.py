"""Bodies of HTTP requests: none is larger than the server wants to hold, and JSON in them is JSON it can handle."""

import asyncio
from contextlib import suppress

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ml_trainer_env.server.security.addresses import header_values
from ml_trainer_env.server.security.answers import answer
from ml_trainer_env.server.security.json_rules import JsonError, check_json, check_json_rpc, check_step, rpc_error

__all__ = ["MAX_BODY_BYTES", "BodyDoor", "BodyTooLargeError", "read_body", "replay_body"]

MAX_BODY_BYTES = 1_000_000
"""Of a request's body, and of a message on a WebSocket. A tool call takes a few hundred."""

DRAINED_BYTES = 8_000_000
DRAIN_S = 1.0
"""How much of a body that is too large is thrown away after the refusal, and for how many seconds."""

RPC_PATH = "/mcp"
STEP_PATHS = frozenset({"/step", "/web/step"})


class BodyTooLargeError(ValueError):
    """A body is larger than it may be. The message says how large it may be."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a request's body may have {limit:,} bytes at the most")


class BodyDoor:
    """Lets in bodies up to a limit; of those that say that they are JSON, only what the server can handle."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, check it, and hand it on in one piece."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
            if body is None:
                return
            _check(scope, body)
        except BodyTooLargeError as error:
            # The rest of the body is thrown away at most in part, so the connection cannot be used again.
            refusal = JSONResponse({"detail": str(error)}, 413, {"Connection": "close"})
            await answer(refusal, scope, receive, _draining(receive, send))
        except JsonError as error:
            await answer(_refusal(scope, error), scope, receive, send)
        else:
            await self._app(scope, replay_body(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        announced = header_values(scope, b"content-length")
        if announced and announced[0].isdigit() and int(announced[0]) > self._limit:
            raise BodyTooLargeError(self._limit)
        return await read_body(receive, self._limit)


def _draining(receive: Receive, send: Send) -> Send:
    """Sends a response whole, and closes the connection only after some of what the client still sends has come.

    If a connection is closed while data waits in it, the system resets it, and a client that is still sending may
    never see the response.
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
    """The whole body of a request; None if the client has gone before its end.

    Raises:
        BodyTooLargeError: It has more bytes than the limit. What is left of it has not been read.
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
    """Gives the body, and then whatever comes after it."""
    rest: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return rest.pop() if rest else await receive()

    return replay


def _check(scope: Scope, body: bytes) -> None:
    if _is_rpc(scope):
        check_json_rpc(body)
    elif body and any(_is_json(value) for value in header_values(scope, b"content-type")):
        if scope["path"] in STEP_PATHS:
            check_step(body)
        else:
            check_json(body, allow_nan=False)


def _is_rpc(scope: Scope) -> bool:
    return bool(scope["path"] == RPC_PATH and scope["method"] == "POST")


def _is_json(content_type: bytes) -> bool:
    name = content_type.partition(b";")[0].strip().lower()
    return name == b"application/json" or name.endswith(b"+json")


def _refusal(scope: Scope, error: JsonError) -> Response:
    if _is_rpc(scope):
        return JSONResponse(rpc_error(error))
    return JSONResponse({"detail": str(error)}, 422)
