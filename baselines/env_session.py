"""A session that uses the environment's client. Converts wire values to the agents' values."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic

from ml_trainer_env.baselines.session import (
    Brief,
    BriefT,
    CallRefusedError,
    DatasetBrief,
    EpisodeNotBegunError,
    Reply,
    ToolSpec,
)
from ml_trainer_env.client import MLTrainerEnv
from ml_trainer_env.errors import ResetRefusedError, ToolCallError
from ml_trainer_env.models import ResetObservation

__all__ = ["EnvSession", "ServedSession"]


class ServedSession(Generic[BriefT]):
    """An episode of a game on a server. The constructor begins it.

    Args:
        env: A connected client.
        read: Converts the observation of a reset to a brief. It is called with what the client's `reset_model` is.
        task_id: The task to play; None for a fork, which has its parent's task, seed and rubric.
        seed: Seed of the episode; None for the task's default.
        rubric: The grading rubric; None for the task's own.
        fork_from: Id of the episode where a fork begins; None for a new episode.
        agent: The name that people who watch see; None for none.

    Raises:
        EpisodeNotBegunError: The server does not know the task or the parent, refuses the seed, the rubric or forks, or
            serves another environment.
        ConnectionError: The server cannot be reached.
    """

    def __init__(
        self,
        env: MLTrainerEnv,
        read: Callable[[Any], BriefT],
        task_id: str | None = None,
        seed: int | None = None,
        rubric: str | None = None,
        fork_from: str | None = None,
        agent: str | None = None,
    ) -> None:
        self._env = env
        try:
            result = env.reset(task_id=task_id, seed=seed, rubric=rubric, fork_from=fork_from, agent=agent)
        except ResetRefusedError as error:
            what = task_id if fork_from is None else f"a fork of {fork_from}"
            raise EpisodeNotBegunError(f"cannot begin {what}: {error}") from error
        if not isinstance(result.observation, env.reset_model):
            raise EpisodeNotBegunError(f"the OpenEnv server at {env.base_url} serves another environment")
        self.brief: BriefT = read(result.observation)
        self.tools: Sequence[ToolSpec] = tuple(
            ToolSpec(tool.name, tool.description, tool.input_schema) for tool in env.list_tools()
        )

    def call(self, name: str, arguments: Mapping[str, object], reason: str = "") -> Reply:
        """Call a tool.

        Raises:
            CallRefusedError: The environment refused the call.
            ConnectionError: The connection is lost.
        """
        try:
            self._env.explain(reason)
            reply: Reply = self._env.call_tool(name, **arguments)
        except ToolCallError as error:
            raise CallRefusedError(str(error)) from error
        return reply


class EnvSession(ServedSession[Brief]):
    """An episode of the tuning game on a server; see `ServedSession`."""

    def __init__(self, env: MLTrainerEnv, task_id: str, seed: int | None = None, rubric: str | None = None) -> None:
        super().__init__(env, brief_of, task_id, seed, rubric)


def brief_of(observation: ResetObservation) -> Brief:
    """Convert the observation of a reset to a brief."""
    task = observation.task
    return Brief(
        episode_id=observation.episode_id,
        task_id=task.id,
        name=task.name,
        description=task.description,
        difficulty=task.difficulty,
        network=task.network,
        parameter_count=task.parameter_count,
        dataset=DatasetBrief(
            name=task.dataset.name,
            source=task.dataset.source,
            train_size=task.dataset.train_size,
            validation_size=task.dataset.validation_size,
            test_size=task.dataset.test_size,
        ),
        budget_epochs=task.budget_epochs,
        target_metric=task.target_metric,
        target_value=task.target_value,
        seed=observation.seed,
        rubric=observation.rubric,
        status=observation.status.model_dump(),
        budget_seconds=task.budget_seconds,
        largest_batch=task.largest_batch,
    )
