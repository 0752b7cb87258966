"""Lets watchers wait until an episode changes. The episode knows no watcher and never waits for one."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from ml_trainer_env.server.episodes.progress import Progress

__all__ = ["Changes", "RunningCall"]


class Changes:
    """Counts the changes of an episode. All methods must be called on one event loop.

    A watcher remembers the count, waits until it differs, and reads what it wants to know. Changes that follow each
    other closely are one to a slow watcher, so nothing is queued for it.

    Attributes:
        count: Number of changes so far.
        at: Time of the last one, in seconds since 1970.
        running: The call that changes something now. None between such calls.
    """

    def __init__(self) -> None:
        self.running: RunningCall | None = None
        self.count = 0
        self.at = time.time()
        self._next = asyncio.Event()

    def begin(self, call: "RunningCall") -> None:
        """Note a call that changes something, as a change."""
        self.running = call
        self.mark()

    def progress(self, progress: Progress) -> None:
        """Note the progress of the running call, as a change."""
        if self.running is not None:
            self.running = self.running.with_progress(progress)
        self.mark()

    def end(self) -> None:
        """Note that the running call has ended, as a change."""
        self.running = None
        self.mark()

    def mark(self) -> None:
        """Count a change and wake all watchers."""
        self.count += 1
        self.at = time.time()
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, seen: int) -> int:
        """Wait until the count differs from `seen`, and return it."""
        while self.count == seen:
            await self._next.wait()
        return self.count


@dataclass(frozen=True, slots=True)
class RunningCall:
    """A call that is being carried out.

    Attributes:
        tool: The tool's name.
        arguments: Its arguments.
        began_at: When it began, in seconds since 1970.
        reason: Why the agent makes it. None if it gave no reason.
        progress: Its last progress. None before the first.
    """

    tool: str
    arguments: Mapping[str, Any]
    began_at: float
    reason: str | None = None
    progress: Progress | None = None

    def with_progress(self, progress: Progress) -> Self:
        """Return the call with another progress."""
        return replace(self, progress=progress)
