"""Wakes a thread that waits in `select.poll`."""

import contextlib
import socket
from types import TracebackType
from typing import Self

__all__ = ["Wakeup"]


class Wakeup:
    """A flag with a descriptor. Any thread may set it. One thread polls the descriptor and clears the flag."""

    def __init__(self) -> None:
        self._sender, self._receiver = socket.socketpair()
        for end in (self._sender, self._receiver):
            end.setblocking(False)

    def set(self) -> None:
        """Make the descriptor readable."""
        with contextlib.suppress(OSError):  # it is set already, or it is closed
            self._sender.send(b"!")

    def clear(self) -> None:
        """Make the descriptor unreadable until the next `set`."""
        with contextlib.suppress(BlockingIOError):
            self._receiver.recv(4096)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._receiver.fileno()

    def close(self) -> None:
        """Close the descriptor. Setting the flag then does nothing."""
        self._sender.close()
        self._receiver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
