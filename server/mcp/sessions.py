"""The sessions of MCP clients. Each session plays its own episode after `start_task`."""

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
from ml_trainer_env.server.room.picture import Picture

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
        session: The session of episodes.
        last_message_at: Time of the last message, in seconds of the monotonic clock.
        scope: Cancelling it ends the session.
    """

    def __init__(self, registry: EpisodeRegistry) -> None:
        self.session = Session(registry, NO_EPISODE)
        self.last_message_at = time.monotonic()
        self.scope = anyio.CancelScope()

    def is_unused(self, idle_s: float) -> bool:
        """Whether it has never asked for an episode and has sent no message for `idle_s` seconds."""
        return not self.session.is_used and time.monotonic() - self.last_message_at >= idle_s


class McpSessions:
    """All sessions. `StreamableHTTPSessionManager` keeps their ids and calls `run` for each.

    Each session has its own MCP server. The tools of that server are bound to the session.

    Args:
        registry: Opens episodes.
        picture: Draws episodes. None for a game without a picture.
    """

    def __init__(self, registry: EpisodeRegistry, picture: Picture | None) -> None:
        self._registry = registry
        self._picture = picture
        example = build_mcp_server(Session(registry, NO_EPISODE), picture)
        self._options = example._mcp_server.create_initialization_options()
        self._sessions: set[McpSession] = set()

    def __len__(self) -> int:
        """Number of sessions."""
        return len(self._sessions)

    def create_initialization_options(self) -> InitializationOptions:
        """Return the options that a client receives when it connects."""
        return self._options

    async def run(
        self, incoming: Incoming, outgoing: Outgoing, options: InitializationOptions, stateless: bool = False
    ) -> None:
        """Serve a session until its messages and its calls have ended.

        FastMCP does not stop calls at the end of a session, so they are stopped here.
        """
        session = McpSession(self._registry)
        server = build_mcp_server(session.session, self._picture)  # the local variable keeps the server alive
        self._sessions.add(session)
        try:
            with session.scope:
                async with self._messages_of(session, incoming) as messages:
                    await server._mcp_server.run(messages, outgoing, options, stateless=stateless)
        finally:
            self._end(session)

    async def close(self) -> None:
        """End all sessions and wait until their calls are recorded."""
        for session in tuple(self._sessions):
            await session.session.retire("the server stops")

    def end_unused(self, idle_s: float) -> None:
        """End the sessions without an episode that have sent no message for `idle_s` seconds.

        Many clients do not close their sessions. Each would count towards the limit until its time-out.
        """
        for session in self._sessions:
            if session.is_unused(idle_s):
                session.scope.cancel()

    def _end(self, session: McpSession) -> None:
        self._sessions.discard(session)
        session.session.close()

    @asynccontextmanager
    async def _messages_of(self, session: McpSession, incoming: Incoming) -> AsyncIterator[Incoming]:
        """Forward the messages of a session. End the session after the last one."""
        sender, messages = anyio.create_memory_object_stream[SessionMessage | Exception](0)

        async def forward() -> None:
            with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
                async with sender:
                    async for message in incoming:
                        session.last_message_at = time.monotonic()
                        await sender.send(message)
            self._end(session)

        async with messages, anyio.create_task_group() as tasks:
            tasks.start_soon(forward)
            yield messages
            tasks.cancel_scope.cancel()
