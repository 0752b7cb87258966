"""What both games share: an episode behind the two methods that TRL calls itself."""

from collections.abc import Mapping
from typing import Any

from ml_trainer_env.client import MLTrainerEnv
from ml_trainer_env.errors import ToolCallError
from ml_trainer_env.integrations.episode import EpisodeClient

__all__ = ["Game"]

_LEAST_SCORES = {"v3": -0.25}
"""The score of an episode without a model, by rubric. Under the others it is 0."""


class Game:
    """An episode whose tools are methods.

    TRL takes every public method but `reset` and `get_reward` for a tool, and shows the model its name, its
    parameters and its docstring. So a subclass has one public method for each tool of its game, and nothing else.

    A call that the server refuses raises `ToolCallError`. TRL tells the model its message.
    """

    def __init__(self, base_url: str, token: str | None, client: type[MLTrainerEnv]) -> None:
        self._episode = EpisodeClient(base_url, token, client)
        self._rubric = ""

    def reset(
        self, task_id: str | None = None, seed: int | None = None, rubric: str | None = None, **row: object
    ) -> str:
        """Begin the episode of a row of the data set.

        Args:
            task_id: The task to play; None for the game's default.
            seed: Seed of the episode; None for the task's own.
            rubric: The grading rubric; None for the task's own.
            row: The other columns of the row. They are not used.

        Returns:
            The task and the state. TRL appends it to the prompt.

        Raises:
            ResetRefusedError: The task or the rubric is unknown, or the server is full.
            EnvConnectionError: The server cannot be reached.
        """
        options = {"task_id": task_id, "seed": seed, "rubric": rubric}
        observation = self._episode.reset(**{name: value for name, value in options.items() if value is not None})
        self._rubric = observation.rubric
        return "\n\n" + self._describe(observation)

    def get_reward(self) -> float:
        """Sum the rewards of the episode. TRL calls this once, when the rollout is complete.

        An episode that the model did not end is submitted as it stands. If there is nothing to submit, it has the least
        score of its rubric, as one that ends by itself. Otherwise a policy could avoid a low grade by never submitting,
        or by never training.
        """
        if not self._episode.done:
            try:
                self._episode.call("submit_model", {})
            except ToolCallError:
                return self._episode.total_reward + _LEAST_SCORES.get(self._rubric, 0.0)
        return self._episode.total_reward

    def _call(self, tool: str, /, **arguments: object) -> str:
        return self._tell(self._episode.call(tool, arguments))

    def _describe(self, observation: Any) -> str:
        """Write the task and the state at the beginning of an episode."""
        raise NotImplementedError

    def _tell(self, reply: Mapping[str, Any]) -> str:
        """Write a reply. It costs the model's context, so it should be short."""
        raise NotImplementedError
