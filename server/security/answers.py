"""How a door says no, over HTTP and before a WebSocket is open."""

from collections.abc import Mapping

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from ml_trainer_env.server.operations.logs import socket_is_refused

__all__ = ["POLICY_VIOLATION", "answer", "refuse"]

POLICY_VIOLATION = 1008


async def refuse(
    scope: Scope, receive: Receive, send: Send, status: int, detail: str, headers: Mapping[str, str] | None = None
) -> None:
    """Refuse a request in words."""
    await answer(JSONResponse({"detail": detail}, status, headers), scope, receive, send)


async def answer(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Give a response instead of the application's: also to a socket that is not open yet, where the server can."""
    if scope["type"] == "websocket":
        socket_is_refused()
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": POLICY_VIOLATION})
    else:
        await response(scope, receive, send)
