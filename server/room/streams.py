"""Server-sent events for observers: the live list, and one live episode as it trains."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from ml_trainer_env.server.room.archive import Archive
from ml_trainer_env.server.room.board import Board, encode, next_tick

__all__ = ["Streams", "TooManyWatchersError"]

MAX_STREAMS = 200
"""Limit for the streams that are open at a time."""

GATHER_S = 0.25
"""Changes within this time, in seconds, are told together."""


class TooManyWatchersError(Exception):
    """The server has as many watchers as it takes."""


class Streams:
    """The event streams of a server. A watcher that is slow is told less often, and nothing waits for it.

    Args:
        archive: The episodes.
        board: The live list.
    """

    def __init__(self, archive: Archive, board: Board) -> None:
        self._archive = archive
        self._board = board
        self._open = 0

    def live(self) -> AsyncIterator[bytes]:
        """Return the events of the live list: `live`.

        Raises:
            TooManyWatchersError: The server has too many watchers.
        """
        return self._counted(self._live())

    def episode(self, name: str, rows: int, calls: int) -> AsyncIterator[bytes]:
        """Return the events of an episode: `live`, `rows`, `insight`, `calls`, and `closed` when no session plays it.

        Args:
            name: Its name.
            rows: Number of units that the watcher has.
            calls: Number of calls that the watcher has.

        Raises:
            TooManyWatchersError: The server has too many watchers.
        """
        return self._counted(self._episode(name, rows, calls))

    def _counted(self, events: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
        if self._open >= MAX_STREAMS:
            raise TooManyWatchersError(
                f"this server has {MAX_STREAMS} watchers already, and takes no more: close a page, or try again later"
            )

        async def counted() -> AsyncIterator[bytes]:
            self._open += 1
            try:
                async with aclosing(events):
                    async for event in events:
                        yield event
            finally:
                self._open -= 1

        return counted()

    async def _live(self) -> AsyncGenerator[bytes, None]:
        async for changes in self._board.watch():
            yield _event("live", changes)

    async def _episode(self, name: str, rows: int, calls: int) -> AsyncGenerator[bytes, None]:
        told_insight: dict[str, Any] | None = None
        while (opened := self._archive.find_open(name)) is not None:
            seen = opened.changes.count
            yield _event("live", encode(self._archive.live(opened)))
            count, fresh = self._archive.columns_after(opened, rows)
            if count > rows:
                yield _event("rows", encode({"first": rows, "columns": fresh}))
                rows = count
            if (insight := self._archive.insight(opened)) != told_insight:
                yield _event("insight", encode(insight))
                told_insight = insight
            if opened.call_count > calls:
                told = await self._archive.calls_after(opened, calls)
                yield _event("calls", encode(told))
                calls += len(told)
            await opened.changes.wait(seen)
            await next_tick(GATHER_S)
        yield _event("closed", encode({"rows": rows, "calls": calls}))


def _event(name: str, text: str) -> bytes:
    """Return an event as it is sent. JSON has no line breaks, so its text is one line of data."""
    return f"event: {name}\ndata: {text}\n\n".encode()
