"""The session of an agent on an episode of the tuning game in this process."""

from ml_trainer_env.baselines.env_session import brief_of
from ml_trainer_env.baselines.session import Brief
from ml_trainer_env.in_process.session import LocalGameSession
from ml_trainer_env.in_process.training import Trainer
from ml_trainer_env.server.datasets import TaskExamples
from ml_trainer_env.server.episodes.game import TimeLimits
from ml_trainer_env.server.tuning.episode import TuningEpisode
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.tasks import Task
from ml_trainer_env.server.tuning.tools import TOOLS

__all__ = ["LocalSession"]


class LocalSession(LocalGameSession[TuningEpisode, Brief]):
    """An episode that an agent plays.

    Args:
        trainer: Trains its epochs.
        task: The task.
        examples: The examples of the task.
        seed: The seed of the episode. None for the task's own.
        rubric: The rubric. By default the hidden figures alone.
    """

    def __init__(
        self,
        trainer: Trainer,
        task: Task,
        examples: TaskExamples,
        seed: int | None = None,
        rubric: RubricVersion = RubricVersion.ACCURACY,
    ) -> None:
        episode = TuningEpisode(
            name="local",
            task=task,
            examples=examples,
            seed=task.seed if seed is None else seed,
            rubric=rubric,
            source=trainer.source,
            limits=TimeLimits(),
        )
        super().__init__(trainer.loop, episode, TOOLS, brief_of)
