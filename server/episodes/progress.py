"""Progress of a call, relayed to the client that waits for it. Knows no game and no protocol."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

__all__ = ["OnProgress", "Progress", "SendProgress", "ignore_progress", "relayed"]

LAST_MESSAGE_S = 2.0
"""How long a finished call waits for its client to take the last progress message, in seconds."""

HEARTBEAT_S = 5.0
"""Seconds without progress after which a heartbeat is sent: some clients give up after 30 or 60 seconds of silence."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a call has come.

    Attributes:
        done: Units of work that it has run.
        total: Units of work that it will run.
        message: The same in words.
    """

    done: int
    total: int
    message: str


OnProgress = Callable[[Progress], None]
"""Called after each unit of work, and about once a second while the call waits for a worker."""

SendProgress = Callable[[Progress | None], Awaitable[None]]
"""Sends progress to a client; None is a heartbeat."""


def ignore_progress(progress: Progress) -> None:
    """The `OnProgress` of a caller that needs no progress."""


@asynccontextmanager
async def relayed(send: SendProgress | None) -> AsyncIterator[OnProgress]:
    """Relay the progress of the call in this block.

    Training never waits for a client that does not read: messages are queued. When the block ends, a client that
    reads has received them all.

    Args:
        send: Sends a message; None if the client asked for no progress.
    """
    if send is None:
        yield ignore_progress
        return
    queue: asyncio.Queue[Progress] = asyncio.Queue()

    async def send_all() -> None:
        while True:
            progress = await _next(queue)
            with suppress(Exception):  # the client may be gone
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
    """The next message, None if there is none for a while."""
    try:
        async with asyncio.timeout(HEARTBEAT_S):
            return await queue.get()
    except TimeoutError:
        return None
