"""A session of one client, on any surface. It plays one episode at a time."""

from collections.abc import Mapping
from typing import Any

from ml_trainer_env.models import EpisodeObservation
from ml_trainer_env.server.episodes.errors import ArgumentsError, EpisodeError, UnknownToolError
from ml_trainer_env.server.episodes.open_episode import OpenEpisode, describe_call
from ml_trainer_env.server.episodes.progress import OnProgress, ignore_progress
from ml_trainer_env.server.episodes.registry import EpisodeRegistry, EpisodeRequest
from ml_trainer_env.server.episodes.tools import Reply, Tool

__all__ = ["Session"]


class Session:
    """Plays the episodes of one client.

    Args:
        registry: Opens episodes.
        no_episode: The error message of a call before the first episode.

    Attributes:
        registry: Opens episodes.
        opened: The open episode. None before the first.
        is_used: Whether the session has asked for an episode.
    """

    def __init__(self, registry: EpisodeRegistry, no_episode: str) -> None:
        self.registry = registry
        self.opened: OpenEpisode | None = None
        self.is_used = False
        self._no_episode = no_episode
        self._is_closed = False

    async def start(self, request: EpisodeRequest) -> EpisodeObservation:
        """Begin, resume or fork an episode. The session closes its previous episode.

        Returns:
            The observation: the task and the state of the episode.

        Raises:
            ResetError: The request names something that does not exist.
            DatasetError: The task's data is not available.
            StoreError: The journal cannot be read or written.
        """
        self.is_used = True
        opened = await self.registry.open(request)
        if self._is_closed:  # the client has disconnected
            opened.close()
        else:
            if self.opened is not None:
                self.opened.close()
            self.opened = opened
        return _reset_observation(opened)

    async def call(
        self,
        tool: str,
        given: Mapping[str, Any],
        on_progress: OnProgress = ignore_progress,
        reason: str | None = None,
    ) -> Reply:
        """Carry out a call of a tool.

        Args:
            tool: The tool's name, not yet checked.
            given: The arguments, not yet checked.
            on_progress: Called while the call runs.
            reason: Why the agent makes the call, for people who watch. None if it gave no reason.

        Raises:
            EpisodeError: The call was refused or failed, or there is no episode.
            ConfigError: An argument is out of bounds.
        """
        try:
            found = self.registry.game.tools.find(tool)
        except UnknownToolError as error:
            await self._refuse(tool, given, error, reason)
            raise
        arguments = await self.read(found, given, reason)
        return await self.require_open().call(tool, arguments, on_progress, reason)

    async def read(self, tool: Tool[Any], given: Mapping[str, Any], reason: str | None = None) -> dict[str, Any]:
        """Read the arguments of a call. A call with wrong parameters is recorded as refused.

        Raises:
            ArgumentsError: A parameter is missing or unknown.
        """
        try:
            return tool.read(given)
        except ArgumentsError as error:
            await self._refuse(tool.name, given, error, reason)
            raise

    async def _refuse(self, tool: str, given: Mapping[str, Any], error: EpisodeError, reason: str | None) -> None:
        if self.opened is not None:
            await self.opened.refuse(tool, given, str(error), reason)

    def require_open(self) -> OpenEpisode:
        """Return the open episode.

        Raises:
            EpisodeError: The session has no episode yet.
        """
        if self.opened is None:
            raise EpisodeError(self._no_episode)
        return self.opened

    def interrupt(self, reason: str) -> None:
        """Stop the work of the running call."""
        if self.opened is not None:
            self.opened.interrupt(reason)

    def close(self) -> None:
        """End the session. The running call stops at the next batch. The episode can be resumed."""
        self._is_closed = True
        if self.opened is not None:
            self.opened.close()
            self.opened = None  # libraries keep references to sessions, and these must not keep models and images

    async def retire(self, reason: str) -> None:
        """End the session and wait until no call runs and everything is recorded."""
        opened = self.opened
        self.close()
        if opened is not None:
            await opened.retire(reason)


def _reset_observation(opened: OpenEpisode) -> EpisodeObservation:
    return opened.episode.describe().model_copy(
        update={
            "resumed": opened.resumed,
            "forked_from": opened.header.forked_from,
            "last_call": describe_call(opened.last_call) if opened.last_call else None,
            "metadata": {"step_count": opened.step_count},
        }
    )
