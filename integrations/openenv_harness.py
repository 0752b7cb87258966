"""Sessions for OpenEnv's harness: its collect and rollout functions drive episodes of either game.

    factory = EpisodeSessionFactory("http://localhost:8000")
    CollectRunner(session_factory=factory, harness_adapter=MCPHarnessAdapter(), ...)

OpenEnv takes the reward of a rollout from its last call. Here every call tells the sum so far, so that the last one
tells the episode's. `verify` can add nothing to it: an episode that the agent did not end has no score.
"""

from collections.abc import Mapping
from typing import Any

from openenv.core.env_server.mcp_types import Tool
from openenv.core.harness import Message, ResourceSession, ResourceSessionFactory, ToolResult, VerifyResult

from ml_trainer_env.client import MLTrainerEnv
from ml_trainer_env.errors import ToolCallError
from ml_trainer_env.integrations.episode import DEFAULT_URL, EpisodeClient
from ml_trainer_env.models import EpisodeObservation

__all__ = ["EpisodeSession", "EpisodeSessionFactory"]


class EpisodeSession(ResourceSession):
    """An episode behind OpenEnv's interface of a rollout.

    Args:
        episode: A client whose episode has begun. The session closes it.
        observation: The observation of its reset.
    """

    def __init__(self, episode: EpisodeClient, observation: EpisodeObservation) -> None:
        self._episode = episode
        self._observation = observation

    def initial_messages(self) -> list[Message]:
        """Describe the task in one message of the user."""
        told = self._observation.model_dump(mode="json", include={"task", "status", "configuration"})
        return [{"role": "user", "content": f"{told['task']['description']}\nThe run: {told['status']}"}]

    def list_tools(self) -> list[Tool]:
        """List the tools with their schemas."""
        return list(self._episode.tools())

    def call_tool(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Call a tool. A refused call is an answer to the model and not an exception."""
        error: str | None = None
        try:
            data = self._episode.call(name, arguments)
        except ToolCallError as refusal:
            error, data = str(refusal), {"error": str(refusal)}
        metadata = {"reward": self._episode.total_reward}
        return ToolResult(data=data, done=self._episode.done, metadata=metadata, error=error)

    def verify(self, transcript: list[Message], final_state: Any | None = None) -> VerifyResult:
        """Tell the sum of the rewards, the score if the episode has ended, and which episode it was."""
        score = {} if self._episode.score is None else {"score": self._episode.score}
        told = self._observation.model_dump(mode="json")
        facts = {name: told[name] for name in ("episode_id", "seed", "rubric")}
        return VerifyResult(
            env_reward=self._episode.total_reward,
            done=self._episode.done,
            metrics=score,
            artifacts={**facts, "task_id": told["task"]["id"]},
        )

    def close(self) -> None:
        """Close the connection."""
        self._episode.close()


class EpisodeSessionFactory(ResourceSessionFactory[EpisodeSession]):
    """Begins an episode for each rollout, with a connection of its own.

    Args:
        base_url: URL of the server; for the fleet with the path /fleet.
        token: Token of the server; None if it needs none.
        client: The game's client: `MLTrainerEnv` or `FleetEnv`.
    """

    def __init__(
        self, base_url: str = DEFAULT_URL, token: str | None = None, client: type[MLTrainerEnv] = MLTrainerEnv
    ) -> None:
        self._options = (base_url, token, client)

    def create(self, task: Any, seed: int | None = None, episode_id: str | None = None) -> EpisodeSession:
        """Begin an episode.

        Args:
            task: Id of the task, or a mapping of options of `reset`; None for the game's default task.
            seed: Seed of the episode; None for the task's own.
            episode_id: The caller's name of the rollout. The server names its episodes itself, because callers repeat
                such names; `artifacts` of `verify` has the server's.

        Raises:
            ResetRefusedError: The task or an option is unknown, or the server is full.
            EnvConnectionError: The server cannot be reached.
        """
        options = {"task_id": task} if isinstance(task, str) else dict(task or {})
        if seed is not None:
            options["seed"] = seed
        episode = EpisodeClient(*self._options)
        try:
            return EpisodeSession(episode, episode.reset(**options))
        except BaseException:
            episode.close()
            raise
