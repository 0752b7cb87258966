"""Limits the size of WebSocket messages and validates their JSON.

An invalid message is answered with an error of the protocol. The application does not receive it, so the session and
its episode do not change.
"""

import json
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ml_trainer_env.server.security.bodies import MAX_BODY_BYTES, RPC_PATH
from ml_trainer_env.server.security.json_rules import (
    ActionError,
    JsonError,
    ParamsError,
    check_frame,
    check_json_rpc,
    rpc_error,
)
from ml_trainer_env.server.security.paths import route_path

__all__ = ["FrameMiddleware"]

MESSAGE_TOO_BIG = 1009


class FrameMiddleware:
    """Passes on text messages that are JSON objects within the limit. Closes the WebSocket (1009) over the limit."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the messages of a WebSocket."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        is_rpc = route_path(scope) == RPC_PATH

        async def receive_checked() -> Message:
            while True:
                message = await receive()
                if message["type"] != "websocket.receive":
                    return message
                text = message.get("text")
                data = message.get("bytes", b"") if text is None else text
                if _size(data) > self._limit:
                    reason = f"a message may have {self._limit:,} bytes at the most"
                    await send({"type": "websocket.close", "code": MESSAGE_TOO_BIG, "reason": reason})
                    return {"type": "websocket.disconnect", "code": MESSAGE_TOO_BIG, "reason": reason}
                try:
                    _check(data, is_rpc)
                except JsonError as error:
                    answer = rpc_error(error) if is_rpc else _error_frame(error)
                    await send({"type": "websocket.send", "text": json.dumps(answer)})
                else:
                    return message

        await self._app(scope, receive_checked, send)


def _size(data: str | bytes) -> int:
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())


def _check(data: str | bytes, is_rpc: bool) -> None:
    if isinstance(data, bytes):
        raise JsonError("expected a message of text, got bytes")
    if is_rpc:
        check_json_rpc(data)
    else:
        check_frame(data)


def _error_frame(error: JsonError) -> dict[str, Any]:
    """Format an error for OpenEnv's /ws."""
    if isinstance(error, ParamsError):  # JSON-RPC request inside a frame
        return {"type": "mcp", "data": rpc_error(error)}
    code = "VALIDATION_ERROR" if isinstance(error, ActionError) else "INVALID_JSON"
    return {"type": "error", "data": {"message": str(error), "code": code}}
