"""Wakes a thread that waits in `select.poll`."""

import contextlib
import socket
from types import TracebackType
from typing import Self

__all__ = ["Bell"]


class Bell:
    """Any thread may ring it. One thread waits for its descriptor to become readable, and silences it."""

    def __init__(self) -> None:
        self._sender, self._receiver = socket.socketpair()
        for end in (self._sender, self._receiver):
            end.setblocking(False)

    def ring(self) -> None:
        """Make the descriptor readable."""
        with contextlib.suppress(OSError):  # it rings already, or nobody waits any more
            self._sender.send(b"!")

    def silence(self) -> None:
        """Make the descriptor unreadable until the next ring."""
        with contextlib.suppress(BlockingIOError):
            self._receiver.recv(4096)

    def fileno(self) -> int:
        """The descriptor."""
        return self._receiver.fileno()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._sender.close()
        self._receiver.close()
