"""Notices that a client has gone while a call of its is being worked on.

Frameworks look at a connection again when they have answered. Until then a call for a client that has gone away would
go on. `ConnectionWatch` reads ahead; whoever works on the call asks `current_connection`, or `connection_of` its
request. Knows of no call and no rule.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Connection", "ConnectionWatch", "connection_of", "current_connection"]

READ_AHEAD = 16
"""Messages of a WebSocket that wait for the application at the most. With so many waiting nothing more is read."""

_SCOPE_KEY = "ml_trainer_env.connection"

logger = logging.getLogger(__name__)


class Connection:
    """A client's connection, for as long as its request or its socket is served.

    Attributes:
        send_text: Sends a text frame; None unless the connection is a WebSocket.
    """

    def __init__(self) -> None:
        self.send_text: Callable[[str], Awaitable[None]] | None = None
        self._is_gone = False
        self._is_over = False
        self._callbacks: dict[object, Callable[[], None]] = {}

    @property
    def is_gone(self) -> bool:
        """Whether the client has gone before it was answered."""
        return self._is_gone

    @property
    def is_over(self) -> bool:
        """Whether it has been answered, so that nothing more can be learnt of the client."""
        return self._is_over

    @contextmanager
    def when_gone(self, callback: Callable[[], None]) -> Iterator[None]:
        """Be told, while the block runs, that the client has gone.

        Args:
            callback: Called once, on the event loop; at once if the client has gone already.
        """
        registration = object()
        self._callbacks[registration] = callback
        try:
            if self._is_gone:
                self._tell()
            yield
        finally:
            self._callbacks.pop(registration, None)

    def has_gone(self) -> None:
        """Take note that the client has gone. Nothing happens if it has been answered."""
        if not self._is_over:
            self._is_gone = True
            self._tell()

    def end(self) -> None:
        """Take note that the client has been answered."""
        self._is_over = True

    def _tell(self) -> None:
        while self._callbacks:
            _, callback = self._callbacks.popitem()
            try:
                callback()
            except Exception:
                logger.exception("a callback for a client that has gone failed")


_current: ContextVar[Connection | None] = ContextVar("connection", default=None)


def current_connection() -> Connection | None:
    """The connection that the running task works for; None if there is none, or if it has been answered.

    The latter is so in tasks that outlive the request that began them.
    """
    connection = _current.get()
    return None if connection is None or connection.is_over else connection


def connection_of(scope: Scope) -> Connection | None:
    """The connection that a request came by, None if it is not watched.

    For tasks that work on a request and were not begun by it, so that `current_connection` does not know.
    """
    connection = scope.get(_SCOPE_KEY)
    return connection if isinstance(connection, Connection) else None


class ConnectionWatch:
    """Reads ahead of an application, so that a client's going is noticed while it is busy."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a socket with its connection watched."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        connection = Connection()
        capacity = READ_AHEAD if scope["type"] == "websocket" else 1
        scope[_SCOPE_KEY] = connection
        token = _current.set(connection)

        async def send_while_connected(message: Message) -> None:
            if connection.is_gone and scope["type"] == "websocket":
                return  # applications learn of it when they next read; a failure to send they would take for their own
            if _is_last(message):
                connection.end()
            await send(message)

        async def send_text(text: str) -> None:
            await send_while_connected({"type": "websocket.send", "text": text})

        if scope["type"] == "websocket":
            connection.send_text = send_text
        try:
            async with _reading_ahead(receive, connection, capacity) as receive_ahead:
                await self._app(scope, receive_ahead, send_while_connected)
        finally:
            connection.end()
            _current.reset(token)


@asynccontextmanager
async def _reading_ahead(receive: Receive, connection: Connection, capacity: int) -> AsyncIterator[Receive]:
    """Reads in a task of its own, once the application has begun to read. The order stays, errors included."""
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
                connection.has_gone()
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
            last[:] = [item]  # whoever asks again is told again
        return item

    try:
        yield receive_ahead
    finally:
        if reader is not None:
            reader.cancel()
            await asyncio.wait({reader})


def _is_last(message: Message) -> bool:
    """Whether nothing is sent after a message."""
    kind = message["type"]
    if kind in {"http.response.body", "websocket.http.response.body"}:
        return not message.get("more_body", False)
    return bool(kind == "websocket.close")
