"""Detects that a client disconnects while its request is running.

Frameworks read from a connection again only after the response. `ConnectionMiddleware` reads ahead, so a disconnect is
seen at once. Handlers get the connection from `current_connection`, or from `connection_of` for a request.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Connection", "ConnectionMiddleware", "connection_of", "current_connection"]

READ_AHEAD = 16
"""Largest number of WebSocket messages that are read before the application asks for them."""

_SCOPE_KEY = "ml_trainer_env.connection"

logger = logging.getLogger(__name__)


class Connection:
    """A client's connection while its request or WebSocket is served.

    Attributes:
        send_text: Sends a text frame; None unless the connection is a WebSocket.
    """

    def __init__(self) -> None:
        self.send_text: Callable[[str], Awaitable[None]] | None = None
        self._is_disconnected = False
        self._is_answered = False
        self._callbacks: dict[object, Callable[[], None]] = {}

    @property
    def is_disconnected(self) -> bool:
        """Whether the client disconnected before the response was complete."""
        return self._is_disconnected

    @property
    def is_answered(self) -> bool:
        """Whether the response is complete. A disconnect is not recorded after that."""
        return self._is_answered

    @contextmanager
    def on_disconnect(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call a function if the client disconnects while the block runs.

        Args:
            callback: Called once, on the event loop; at once if the client is disconnected already.
        """
        registration = object()
        self._callbacks[registration] = callback
        try:
            if self._is_disconnected:
                self._notify()
            yield
        finally:
            self._callbacks.pop(registration, None)

    def mark_disconnected(self) -> None:
        """Record a disconnect and run the callbacks. Does nothing after the response."""
        if not self._is_answered:
            self._is_disconnected = True
            self._notify()

    def mark_answered(self) -> None:
        """Record that the response is complete."""
        self._is_answered = True

    def _notify(self) -> None:
        while self._callbacks:
            _, callback = self._callbacks.popitem()
            try:
                callback()
            except Exception:
                logger.exception("a disconnect callback failed")


_current: ContextVar[Connection | None] = ContextVar("connection", default=None)


def current_connection() -> Connection | None:
    """Return the connection of the current task; None without one, or after its response.

    A task that outlives its request gets None.
    """
    connection = _current.get()
    return None if connection is None or connection.is_answered else connection


def connection_of(scope: Scope) -> Connection | None:
    """Return the connection of a request, None without the middleware.

    For tasks that the request did not start: `current_connection` returns None there.
    """
    connection = scope.get(_SCOPE_KEY)
    return connection if isinstance(connection, Connection) else None


class ConnectionMiddleware:
    """Reads ahead of the application, so that a disconnect is detected while the application is busy."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a WebSocket and detect its disconnect."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        connection = Connection()
        capacity = READ_AHEAD if scope["type"] == "websocket" else 1
        scope[_SCOPE_KEY] = connection
        token = _current.set(connection)

        async def send_while_connected(message: Message) -> None:
            if connection.is_disconnected and scope["type"] == "websocket":
                return  # the application sees the disconnect at its next read; an error here would look like its own
            if _is_last(message):
                connection.mark_answered()
            await send(message)

        async def send_text(text: str) -> None:
            await send_while_connected({"type": "websocket.send", "text": text})

        if scope["type"] == "websocket":
            connection.send_text = send_text
        try:
            async with _read_ahead(receive, connection, capacity) as receive_ahead:
                await self._app(scope, receive_ahead, send_while_connected)
        finally:
            connection.mark_answered()
            _current.reset(token)


@asynccontextmanager
async def _read_ahead(receive: Receive, connection: Connection, capacity: int) -> AsyncIterator[Receive]:
    """Read in a separate task from the first read of the application on. Messages and errors keep their order."""
    read: asyncio.Queue[Message | Exception] = asyncio.Queue(capacity)
    reader: asyncio.Task[None] | None = None

    async def read_on() -> None:
        while True:
            try:
                message = await receive()
            except Exception as error:
                await read.put(error)
                return
            is_last = message["type"] in {"http.disconnect", "websocket.disconnect"}
            if is_last:
                connection.mark_disconnected()
            await read.put(message)
            if is_last:
                return

    last: list[Message | Exception] = []

    async def receive_ahead() -> Message:
        nonlocal reader
        reader = reader or asyncio.create_task(read_on())
        item = last[0] if last else await read.get()
        if isinstance(item, Exception):
            last[:] = [item]
            raise item
        if item["type"] in {"http.disconnect", "websocket.disconnect"}:
            last[:] = [item]  # later reads return it again
        return item

    try:
        yield receive_ahead
    finally:
        if reader is not None:
            reader.cancel()
            await asyncio.wait({reader})


def _is_last(message: Message) -> bool:
    """Whether a message is the last of its response."""
    kind = message["type"]
    if kind in {"http.response.body", "websocket.http.response.body"}:
        return not message.get("more_body", False)
    return bool(kind == "websocket.close")
