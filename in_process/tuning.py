"""The session of an agent on an episode of the tuning game in this process."""

from collections.abc import Mapping, Sequence
from typing import Any

from ml_trainer_env.baselines.env_session import brief_of
from ml_trainer_env.baselines.session import Brief, CallRefusedError, Reply, ToolSpec
from ml_trainer_env.in_process.training import Trainer
from ml_trainer_env.server.datasets import TaskExamples
from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.episodes.game import TimeLimits
from ml_trainer_env.server.trainer.errors import ConfigError
from ml_trainer_env.server.tuning.episode import TuningEpisode
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.tasks import Task
from ml_trainer_env.server.tuning.tools import TOOLS

__all__ = ["LocalSession"]


class LocalSession:
    """An episode that an agent plays; see `baselines.session.Session`.

    Args:
        trainer: Trains its epochs.
        task: The task.
        examples: The examples of the task.
        seed: The seed of the episode. None for the task's own.
        rubric: The rubric. By default the hidden figures alone.

    Attributes:
        calls: The calls that were not refused, as tool and arguments.
        reply: The last reply.
    """

    def __init__(
        self,
        trainer: Trainer,
        task: Task,
        examples: TaskExamples,
        seed: int | None = None,
        rubric: RubricVersion = RubricVersion.ACCURACY,
    ) -> None:
        self._loop = trainer.loop
        self.episode = TuningEpisode(
            name="local",
            task=task,
            examples=examples,
            seed=task.seed if seed is None else seed,
            rubric=rubric,
            source=trainer.source,
            limits=TimeLimits(),
        )
        self.calls: list[tuple[str, dict[str, object]]] = []
        self.reply: dict[str, Any] = {}

    @property
    def brief(self) -> Brief:
        """Description of the episode."""
        return brief_of(self.episode.describe())

    @property
    def tools(self) -> Sequence[ToolSpec]:
        """The tools that may be called."""
        return [ToolSpec(tool.name, tool.description, tool.input_schema) for tool in TOOLS]

    def call(self, name: str, arguments: Mapping[str, object], reason: str = "") -> Reply:
        """Call a tool.

        Raises:
            CallRefusedError: The episode refused the call.
        """
        try:
            reply = self._loop.run_until_complete(self.episode.call(name, dict(arguments)))
        except (EpisodeError, ConfigError) as error:
            raise CallRefusedError(str(error)) from error
        self.calls.append((name, dict(arguments)))
        self.reply = reply
        return reply
