"""The session of an agent on an episode of either game in this process."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from ml_trainer_env.baselines.session import BriefT, CallRefusedError, Reply, ToolSpec
from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.episodes.game import Episode
from ml_trainer_env.server.episodes.tools import Toolbox
from ml_trainer_env.server.trainer.errors import ConfigError

__all__ = ["LocalGameSession"]

EpisodeT = TypeVar("EpisodeT", bound=Episode)


class LocalGameSession(Generic[EpisodeT, BriefT]):
    """An episode that an agent plays; see `baselines.session.GameSession`.

    Args:
        loop: The event loop of the episode. It does not run between calls.
        episode: The episode.
        toolbox: The tools of its game.
        read: Converts the description of the episode to a brief.

    Attributes:
        episode: The episode.
        tools: The tools that may be called.
        calls: The calls that were not refused, as tool and arguments.
        reply: The last reply.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        episode: EpisodeT,
        toolbox: Toolbox[Any],
        read: Callable[[Any], BriefT],
    ) -> None:
        self._loop = loop
        self._read = read
        self.episode = episode
        self.tools = [ToolSpec(tool.name, tool.description, tool.input_schema) for tool in toolbox]
        self.calls: list[tuple[str, dict[str, object]]] = []
        self.reply: dict[str, Any] = {}

    @property
    def brief(self) -> BriefT:
        """Description of the episode."""
        return self._read(self.episode.describe())

    def call(self, name: str, arguments: Mapping[str, object], reason: str = "") -> Reply:
        """Call a tool. Nobody watches, so the reason is not kept.

        Raises:
            CallRefusedError: The episode refused the call.
        """
        try:
            self.reply = self._loop.run_until_complete(self.episode.call(name, dict(arguments)))
        except (EpisodeError, ConfigError) as error:
            raise CallRefusedError(str(error)) from error
        self.calls.append((name, dict(arguments)))
        return self.reply
