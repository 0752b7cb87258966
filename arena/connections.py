"""Limits for connections, so that idle or slow ones do not shut anybody out.

A connection has a limited time to send the head of a request. If all places are taken, or all places of one address,
the connection that has been idle for longest makes room. A connection is refused only if requests are running on all of
them. Bodies have time limits of their own: see `bodies` and `files.uploads`.
"""

import asyncio
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

__all__ = ["ConnectionLimits", "limited_protocol"]

_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 5\r\nconnection: close\r\n"
    b'content-length: 57\r\n\r\n{"error": "too many requests at once: try again shortly"}'
)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of a server.

    Attributes:
        total: Open connections.
        per_address: Open connections of one address.
        head_s: Seconds for the head of a request, from the opening of the connection or from its first byte.
        proxies: Addresses of reverse proxies, for which `per_address` does not hold.
    """

    total: int
    per_address: int
    head_s: float
    proxies: frozenset[str] = frozenset()


def limited_protocol(limits: ConnectionLimits) -> type[asyncio.Protocol]:
    """Create a protocol for `uvicorn.Config(http=...)` that keeps to limits.

    The limits hold for all connections of the protocol together, so create one for each server.
    """
    pool = _Pool(limits)
    base: Any = AutoHTTPProtocol

    class LimitedProtocol(base):  # type: ignore[misc]
        """HTTP with limits for connections."""

        _deadline: asyncio.TimerHandle | None = None
        _answered: Any = None
        """The last request whose head has come."""

        _has_room = True

        def connection_made(self, transport: Any) -> None:
            """Take a place for a connection."""
            super().connection_made(transport)
            self._has_room = pool.add(self, self.client[0] if self.client else "")
            self._start_deadline()

        def data_received(self, data: bytes) -> None:
            """Start the time limit with the first byte of a head, and end it with the last."""
            if not self._has_room:  # refused only now: a client may lose an answer that comes before its request
                self.transport.write(_REFUSAL)
                self.close_idle()
                return
            if self.is_idle and self._deadline is None:
                self._start_deadline()
            super().data_received(data)
            if self.cycle is not self._answered:
                self._answered = self.cycle
                self._stop_deadline()
                pool.touch(self)

        def connection_lost(self, exc: Exception | None) -> None:
            """Free the place of a connection."""
            self._stop_deadline()
            pool.remove(self)
            super().connection_lost(exc)

        @property
        def is_idle(self) -> bool:
            """Whether no request is running."""
            return self.cycle is None or bool(self.cycle.response_complete)

        def close_idle(self) -> None:
            """Close the connection, on which no request is running."""
            self._stop_deadline()
            self.transport.close()

        def _start_deadline(self) -> None:
            self._deadline = self.loop.call_later(limits.head_s, self.close_idle)

        def _stop_deadline(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return LimitedProtocol


class _Pool:
    """Open connections, the one that has been used least recently first."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._addresses: OrderedDict[Any, str] = OrderedDict()
        self._counts: Counter[str] = Counter()

    def add(self, connection: Any, address: str) -> bool:
        """Add a connection, in place of an idle one if there is no room.

        Returns:
            Whether there was room. If not, the connection should be refused; until then it is an idle one, which
            makes room for the next.
        """
        is_full = address not in self._limits.proxies and self._counts[address] >= self._limits.per_address
        has_room = not is_full or self._close_idle(address)
        if len(self._addresses) >= self._limits.total:
            has_room = self._close_idle(None) and has_room
        self._addresses[connection] = address
        self._counts[address] += 1
        return has_room

    def touch(self, connection: Any) -> None:
        """Note that a request has begun on a connection."""
        if connection in self._addresses:
            self._addresses.move_to_end(connection)

    def remove(self, connection: Any) -> None:
        """Remove a connection, if it has not been removed yet."""
        address = self._addresses.pop(connection, None)
        if address is not None:
            self._counts[address] -= 1
            if not self._counts[address]:
                del self._counts[address]

    def _close_idle(self, address: str | None) -> bool:
        """Close the connection that has been idle for longest, of one address or of all."""
        for connection, own in self._addresses.items():
            if address in (None, own) and connection.is_idle:
                self.remove(connection)
                connection.close_idle()
                return True
        return False
