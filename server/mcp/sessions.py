"""The sessions of MCP clients: each plays its own episode, from `start_task` until it ends in whatever way."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server.lowlevel.server import Server
from mcp.server.models import InitializationOptions
from mcp.shared.message import SessionMessage

from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.episodes.open_episode import OpenEpisode
from ml_trainer_env.server.episodes.registry import EpisodeBook, EpisodeRequest

__all__ = ["McpSession", "McpSessions", "current_session"]

Incoming = MemoryObjectReceiveStream[SessionMessage | Exception]
Outgoing = MemoryObjectSendStream[SessionMessage]


class McpSession:
    """What one client plays: nothing at first, then one episode at a time.

    Args:
        book: Opens episodes.

    Attributes:
        opened: The episode, None before the first.
        heard_at: When its last message came, by the monotonic clock.
        scope: Ends it if it is cancelled.
    """

    def __init__(self, book: EpisodeBook) -> None:
        self.opened: OpenEpisode | None = None
        self.heard_at = time.monotonic()
        self.scope = anyio.CancelScope()
        self._book = book
        self._is_over = False
        self._is_used = False

    def is_left_behind(self, idle_s: float) -> bool:
        """Whether it has never asked for an episode and has been silent for so long."""
        return not self._is_used and time.monotonic() - self.heard_at >= idle_s

    def played(self) -> OpenEpisode:
        """The episode.

        Raises:
            EpisodeError: There is none yet.
        """
        if self.opened is None:
            raise EpisodeError(
                "there is no episode: call start_task first (with episode_id and resume=true to go on with an earlier "
                "one); list_tasks shows what there is"
            )
        return self.opened

    async def start(self, request: EpisodeRequest) -> OpenEpisode:
        """Begin, resume or fork an episode, and leave the one that was played.

        Raises:
            ResetError: The request names something there is not.
            DatasetError: The task's images cannot be had.
            StoreError: The journal cannot be read or written.
        """
        self._is_used = True
        opened = await self._book.open(request)
        if self._is_over:  # the client has gone meanwhile
            opened.close()
            return opened
        if self.opened is not None:
            self.opened.close()
        self.opened = opened
        return opened

    def close(self) -> None:
        """End it: a call under way stops at its next batch. The episode can be resumed."""
        self._is_over = True
        if self.opened is not None:
            self.opened.close()
            self.opened = None  # contexts that libraries hold on to must not hold on to images

    async def retire(self, reason: str) -> None:
        """End it; on return no call is under way and all that was trained is written down."""
        opened = self.opened
        self.close()
        if opened is not None:
            await opened.retire(reason)


_current: ContextVar[McpSession] = ContextVar("mcp_session")


def current_session() -> McpSession:
    """The session of the call that is being worked on."""
    return _current.get()


class McpSessions:
    """All sessions. To `StreamableHTTPSessionManager`, which keeps their ids, this is the server that it runs for each.

    A session is in the table as long as messages can come for it. Its calls find it by a context
    variable, which they inherit from the task that runs the session: nothing else refers to it.

    Args:
        server: Answers messages.
        book: Opens episodes.
    """

    def __init__(self, server: Server[Any, Any], book: EpisodeBook) -> None:
        self._server = server
        self._book = book
        self._sessions: set[McpSession] = set()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._sessions)

    def create_initialization_options(self) -> InitializationOptions:
        """What clients are told of the server."""
        return self._server.create_initialization_options()

    async def run(
        self, incoming: Incoming, outgoing: Outgoing, options: InitializationOptions, stateless: bool = False
    ) -> None:
        """Serve a session until no more messages can come and its calls have ended.

        FastMCP lets calls go on when a session ends, so they are stopped here, by the end of the messages.
        """
        session = McpSession(self._book)
        self._sessions.add(session)
        _current.set(session)
        try:
            with session.scope:
                async with self._messages_of(session, incoming) as messages:
                    await self._server.run(messages, outgoing, options, stateless=stateless)
        finally:
            self._end(session)

    async def close(self) -> None:
        """End all sessions; on return all that was trained is written down."""
        for session in tuple(self._sessions):
            await session.retire("the server stops")

    def end_unused(self, idle_s: float) -> None:
        """End the sessions that play nothing and have been silent for a while.

        Many clients leave theirs behind, and each would keep its place until it times out.
        """
        for session in self._sessions:
            if session.is_left_behind(idle_s):
                session.scope.cancel()

    def _end(self, session: McpSession) -> None:
        self._sessions.discard(session)
        session.close()

    @asynccontextmanager
    async def _messages_of(self, session: McpSession, incoming: Incoming) -> AsyncIterator[Incoming]:
        """Hands messages on, and notices when no more of them can come."""
        sender, messages = anyio.create_memory_object_stream[SessionMessage | Exception](0)

        async def hand_on() -> None:
            with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
                async with sender:
                    async for message in incoming:
                        session.heard_at = time.monotonic()
                        await sender.send(message)
            self._end(session)

        async with messages, anyio.create_task_group() as tasks:
            tasks.start_soon(hand_on)
            yield messages
            tasks.cancel_scope.cancel()
