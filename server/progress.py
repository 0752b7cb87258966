"""Progress of a tool call, sent to the client that waits for it. Knows of no call and no rule."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastmcp.server.dependencies import get_context

from ml_trainer_env.server.episodes.episode import OnProgress, Progress

__all__ = ["report_progress"]

LAST_NEWS_S = 2.0
"""How long a call that is through waits for its client to take the last news of it."""

HEARTBEAT_S = 5.0
"""After so long without news the last news is sent again: some clients give up after 30 or 60 seconds of silence."""

WAITING_STEP = 0.0001
"""By how much of an epoch progress grows when there is none: the protocol wants every figure above the last."""


@asynccontextmanager
async def report_progress() -> AsyncIterator[OnProgress]:
    """Sends progress to the client whose tool call is being worked on, if it asked for it.

    Training never waits for a client that does not listen: what is to be sent is queued. A client
    that listens has been told of everything when the block ends.
    """
    context = get_context()
    untold: asyncio.Queue[Progress] = asyncio.Queue()

    async def send() -> None:
        done, total, message = 0.0, None, "working"
        while True:
            progress = await _next(untold)
            done = round(done + WAITING_STEP, 4)
            if progress is not None:
                done, total, message = max(progress.epochs, done), progress.total, progress.message
            with suppress(Exception):  # a client that has gone is not told
                await context.report_progress(done, total, message)
            if progress is not None:
                untold.task_done()

    sender = asyncio.create_task(send())
    try:
        yield untold.put_nowait
        with suppress(TimeoutError):
            await asyncio.wait_for(untold.join(), LAST_NEWS_S)
    finally:
        sender.cancel()


async def _next(untold: asyncio.Queue[Progress]) -> Progress | None:
    """The next news, None if there is none for a while."""
    try:
        async with asyncio.timeout(HEARTBEAT_S):
            return await untold.get()
    except TimeoutError:
        return None
