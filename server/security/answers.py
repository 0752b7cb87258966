"""Refusals, over HTTP and before a WebSocket is accepted."""

from collections.abc import Mapping

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from ml_trainer_env.server.operations.logs import mark_socket_refused

__all__ = ["POLICY_VIOLATION", "answer", "refuse"]

POLICY_VIOLATION = 1008


async def refuse(
    scope: Scope, receive: Receive, send: Send, status: int, detail: str, headers: Mapping[str, str] | None = None
) -> None:
    """Refuse a request with a status and a JSON body that contains the reason."""
    await answer(JSONResponse({"detail": detail}, status, headers), scope, receive, send)


async def answer(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a response in place of the application. A WebSocket is closed instead if the server lacks the extension."""
    if scope["type"] == "websocket":
        mark_socket_refused()
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": POLICY_VIOLATION})
    else:
        await response(scope, receive, send)
