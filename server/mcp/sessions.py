"""The sessions of MCP clients. Each plays its own episode, from `start_task` on."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server.models import InitializationOptions
from mcp.shared.message import SessionMessage

from ml_trainer_env.server.episodes.registry import EpisodeRegistry
from ml_trainer_env.server.episodes.session import Session
from ml_trainer_env.server.mcp.tools import build_mcp_server
from ml_trainer_env.server.room.contract import Room

__all__ = ["McpSessions"]

NO_EPISODE = (
    "there is no episode: call start_task first (with episode_id and resume=true to go on with an earlier one); "
    "list_tasks shows what there is"
)

Incoming = MemoryObjectReceiveStream[SessionMessage | Exception]
Outgoing = MemoryObjectSendStream[SessionMessage]


class McpSession:
    """The session of one MCP client.

    Args:
        registry: Opens episodes.

    Attributes:
        session: What the client plays.
        heard_at: When its last message came, by the monotonic clock.
        scope: Ends it if it is cancelled.
    """

    def __init__(self, registry: EpisodeRegistry) -> None:
        self.session = Session(registry, NO_EPISODE)
        self.heard_at = time.monotonic()
        self.scope = anyio.CancelScope()

    def is_unused(self, idle_s: float) -> bool:
        """Whether it has never asked for an episode and has been silent for so long."""
        return not self.session.is_used and time.monotonic() - self.heard_at >= idle_s


class McpSessions:
    """All sessions. `StreamableHTTPSessionManager` keeps their ids, and runs this for each of them.

    A session is in the table as long as messages can come for it. It has an MCP server of its own, whose tools are
    bound to it.

    Args:
        registry: Opens episodes.
        room: Draws episodes; None for a game without pictures.
    """

    def __init__(self, registry: EpisodeRegistry, room: Room | None) -> None:
        self._registry = registry
        self._room = room
        example = build_mcp_server(Session(registry, NO_EPISODE), room)
        self._options = example._mcp_server.create_initialization_options()
        self._sessions: set[McpSession] = set()

    def __len__(self) -> int:
        """The number of sessions."""
        return len(self._sessions)

    def create_initialization_options(self) -> InitializationOptions:
        """What a client learns of the server when it connects."""
        return self._options

    async def run(
        self, incoming: Incoming, outgoing: Outgoing, options: InitializationOptions, stateless: bool = False
    ) -> None:
        """Serve a session until no more messages can come and its calls have ended.

        FastMCP lets calls go on when a session ends, so they are stopped here, by the end of the messages.
        """
        session = McpSession(self._registry)
        server = build_mcp_server(session.session, self._room)  # a local, so that it lives as long as it runs
        self._sessions.add(session)
        try:
            with session.scope:
                async with self._messages_of(session, incoming) as messages:
                    await server._mcp_server.run(messages, outgoing, options, stateless=stateless)
        finally:
            self._end(session)

    async def close(self) -> None:
        """End all sessions; on return all that was trained is written down."""
        for session in tuple(self._sessions):
            await session.session.retire("the server stops")

    def end_unused(self, idle_s: float) -> None:
        """End the sessions that play nothing and have been silent for a while.

        Many clients leave theirs behind, and each would keep its place until it times out.
        """
        for session in self._sessions:
            if session.is_unused(idle_s):
                session.scope.cancel()

    def _end(self, session: McpSession) -> None:
        self._sessions.discard(session)
        session.session.close()

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
