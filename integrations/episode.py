"""An episode as the adapters need it: rewards are added up, and every value is plain JSON.

It works in synchronous code, also in a thread in which an event loop is running. A call then blocks that loop.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from openenv.core.env_server.mcp_types import Tool

from ml_trainer_env.client import MLTrainerEnv
from ml_trainer_env.models import EpisodeObservation

__all__ = ["DEFAULT_URL", "EpisodeClient"]

DEFAULT_URL = "http://localhost:8000"
"""Address of a server that `make serve` started."""


class EpisodeClient:
    """A session with a server that plays one episode after another.

    It connects at the first use. A lost connection is an error; the next `reset` connects again.

    Args:
        base_url: URL of the server; for the fleet with the path /fleet.
        token: Token of the server; None if it needs none.
        client: The game's client.

    Attributes:
        total_reward: Sum of the rewards since the last reset.
        last_reply: The reply to the last call that was not refused; empty after a reset.
        done: Whether the episode has ended.
    """

    def __init__(
        self, base_url: str = DEFAULT_URL, token: str | None = None, client: type[MLTrainerEnv] = MLTrainerEnv
    ) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else None
        self._env = client(base_url, headers=headers).sync()
        self.total_reward = 0.0
        self.last_reply: dict[str, Any] = {}
        self.done = False

    @property
    def score(self) -> float | None:
        """The grade; None before the episode has ended."""
        return self.last_reply.get("score")

    def reset(self, **options: Any) -> EpisodeObservation:
        """Begin an episode; see `MLTrainerEnv.reset` for the options and what is raised."""
        self._env.connect()
        observation: EpisodeObservation = self._env.reset(**options).observation
        self.total_reward, self.last_reply, self.done = 0.0, {}, observation.done
        return observation

    def tools(self) -> Sequence[Tool]:
        """List the tools. No episode is needed."""
        self._env.connect()
        listed: list[Tool] = self._env.list_tools()
        return listed

    def call(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Call a tool. Arguments that are None are left out.

        Raises:
            ToolCallError: The server refused the call, which changes nothing, or the call failed.
            EnvConnectionError: The server cannot be reached.
        """
        given = {key: value for key, value in arguments.items() if value is not None}
        reply: dict[str, Any] = self._env.call_tool(name, **given)
        self.total_reward += self._env.reward
        self.last_reply, self.done = reply, self._env.done
        return reply

    def close(self) -> None:
        """Close the connection."""
        self._env.close()
