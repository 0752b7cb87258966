"""Progress of a tool call, sent to the client that waits for it. Knows of no call and no rule.

MCP clients get MCP's progress notifications. A client of OpenEnv's WebSocket that asks for progress gets frames
`{"type": "progress", "data": {"epochs": 3, "total": 10, "message": "..."}}` before the answer.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict

from fastmcp.server.dependencies import get_context

from ml_trainer_env.server.tuning.episode import OnProgress, Progress

__all__ = ["progress_frames", "report_progress"]

LAST_NEWS_S = 2.0
"""How long a call that is through waits for its client to take the last news of it."""

HEARTBEAT_S = 5.0
"""After so long without news the last news is sent again: some clients give up after 30 or 60 seconds of silence."""

WAITING_STEP = 0.0001
"""By how much of an epoch progress grows when there is none: the protocol wants every figure above the last."""


_send_frame: ContextVar[Callable[[str], Awaitable[None]] | None] = ContextVar("send_frame", default=None)


@contextmanager
def progress_frames(send_text: Callable[[str], Awaitable[None]] | None) -> Iterator[None]:
    """Send the progress of the calls in this block as frames of a WebSocket.

    Args:
        send_text: Sends a frame; None to send nothing.
    """
    before = _send_frame.set(send_text)
    try:
        yield
    finally:
        _send_frame.reset(before)


@asynccontextmanager
async def report_progress() -> AsyncIterator[OnProgress]:
    """Sends progress to the client whose tool call is being worked on, if it asked for it.

    Training never waits for a client that does not listen: what is to be sent is queued. A client
    that listens has been told of everything when the block ends.
    """
    context = get_context()
    send_frame = _send_frame.get()
    untold: asyncio.Queue[Progress] = asyncio.Queue()

    async def send() -> None:
        done, total, message = 0.0, None, "working"
        while True:
            progress = await _next(untold)
            done = round(done + WAITING_STEP, 4)
            if progress is not None:
                done, total, message = max(progress.epochs, done), progress.total, progress.message
            with suppress(Exception):  # a client that has gone is not told
                if send_frame is None:
                    await context.report_progress(done, total, message)
                elif progress is not None:
                    await send_frame(json.dumps({"type": "progress", "data": asdict(progress)}))
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
