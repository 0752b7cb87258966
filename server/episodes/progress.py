"""Relays the progress of a call to its client. Knows no game and no protocol."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

__all__ = ["OnProgress", "Progress", "SendProgress", "ignore_progress", "relay_progress"]

LAST_MESSAGE_S = 2.0
"""Seconds that a finished call waits until its client has received the last progress message."""

HEARTBEAT_S = 5.0
"""Seconds without progress before a heartbeat. Some clients give up after 30 or 60 seconds without a message."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a call.

    Attributes:
        done: Number of completed units of work.
        total: Number of units of work that the call asked for.
        message: The progress as text.
    """

    done: int
    total: int
    message: str


OnProgress = Callable[[Progress], None]
"""Called after each unit of work. Also called about once a second while the call waits for a worker."""

SendProgress = Callable[[Progress | None], Awaitable[None]]
"""Sends progress to a client. None is a heartbeat."""


def ignore_progress(progress: Progress) -> None:
    """An `OnProgress` that does nothing."""


@asynccontextmanager
async def relay_progress(send: SendProgress | None) -> AsyncIterator[OnProgress]:
    """Relay the progress of the call that runs in this block. Yields its `OnProgress`.

    Messages are queued, so training never waits for the client. The end of the block waits up to `LAST_MESSAGE_S`
    until the client has received them all.

    Args:
        send: Sends a message. None if the client asked for no progress.
    """
    if send is None:
        yield ignore_progress
        return
    queue: asyncio.Queue[Progress] = asyncio.Queue()

    async def send_all() -> None:
        while True:
            progress = await _next(queue)
            with suppress(Exception):  # the client may have disconnected
                await send(progress)
            if progress is not None:
                queue.task_done()

    sender = asyncio.create_task(send_all())
    try:
        yield queue.put_nowait
        with suppress(TimeoutError):
            await asyncio.wait_for(queue.join(), LAST_MESSAGE_S)
    finally:
        sender.cancel()


async def _next(queue: asyncio.Queue[Progress]) -> Progress | None:
    """Return the next message. None after `HEARTBEAT_S` without one."""
    try:
        async with asyncio.timeout(HEARTBEAT_S):
            return await queue.get()
    except TimeoutError:
        return None
