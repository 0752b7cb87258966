"""Work of a call that may be interrupted: between two units, or while one runs."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

__all__ = ["InterruptedWorkError", "Interruption"]

Result = TypeVar("Result")


class InterruptedWorkError(Exception):
    """The work of a call was interrupted. The message is the reason."""


class Interruption:
    """Interrupts the work of one call. Work that has not begun must first call `require_none`."""

    def __init__(self) -> None:
        self._running: asyncio.Future[Any] | None = None
        self._reason: str | None = None

    def interrupt(self, reason: str) -> None:
        """Interrupt the work. The first reason counts."""
        self._reason = self._reason or reason
        if self._running is not None:
            self._running.cancel()

    def forget(self) -> None:
        """Note that the interrupted call has ended."""
        self._reason = None

    async def wait_for(self, work: Awaitable[Result]) -> Result:
        """Wait for work.

        Raises:
            InterruptedWorkError: `interrupt` was called meanwhile.
        """
        self._running = task = asyncio.ensure_future(work)
        try:
            return await task
        except asyncio.CancelledError:
            self.require_none()
            raise
        finally:
            self._running = None

    def require_none(self) -> None:
        """Check that the call was not interrupted.

        Raises:
            InterruptedWorkError: It was.
        """
        if self._reason is not None:
            raise InterruptedWorkError(self._reason) from None
