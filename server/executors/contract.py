"""Where training runs: the contract that every executor keeps.

The unit of work is one epoch. Sessions that share an executor therefore take turns epoch by epoch,
a call can stop between epochs, and whatever happens to a worker costs one epoch at the most.
"""

from dataclasses import dataclass
from typing import Protocol

from ml_trainer_env.server.trainer.config import TrainingConfig
from ml_trainer_env.server.trainer.images import ImageArrays
from ml_trainer_env.server.trainer.metrics import EpochMetrics
from ml_trainer_env.server.trainer.schedules import LearningRatePlan
from ml_trainer_env.server.trainer.state import FreshState, TrainingState

__all__ = ["KEPT_TASKS", "EpochJob", "EpochResult", "Executor", "ExecutorError", "HeldOutJob", "Job"]


KEPT_TASKS = 4
"""Whoever runs jobs keeps the data of the last so many tasks in memory."""


class ExecutorError(Exception):
    """An executor could not do a job, through no fault of the job. The message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class EpochJob:
    """Train for one epoch.

    Attributes:
        state: Where to start, or the name of the fresh state to start from.
        config: The settings.
        plan: The learning rate by epoch.
        data: The task's images.
    """

    state: TrainingState | FreshState
    config: TrainingConfig
    plan: LearningRatePlan
    data: ImageArrays


@dataclass(frozen=True, slots=True, eq=False)
class EpochResult:
    """What an epoch came to.

    Attributes:
        state: The state after it.
        metrics: Its figures.
        seconds: Wall time it took where it ran.
    """

    state: TrainingState
    metrics: EpochMetrics
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutJob:
    """Measure the accuracy on held-out images.

    Attributes:
        state: The model.
        data: The task's images.
    """

    state: TrainingState
    data: ImageArrays


Job = EpochJob | HeldOutJob


class Executor(Protocol):
    """Runs jobs. The same job gives the same bits in every executor with as many torch threads."""

    async def start(self) -> None:
        """Make ready to take jobs; returns before workers are warm."""

    async def run_epoch(self, job: EpochJob, timeout_s: float) -> EpochResult:
        """Train for one epoch.

        Args:
            job: What to do; nothing in it is changed.
            timeout_s: Time the epoch may take once it has begun.

        Raises:
            ExecutorError: The worker died or ran over its time. Nothing was trained.
        """
        ...

    async def held_out_accuracy(self, job: HeldOutJob, timeout_s: float) -> float:
        """Share of the held-out images classified right.

        Raises:
            ExecutorError: As `run_epoch`.
        """
        ...

    async def close(self) -> None:
        """Stop. Jobs under way fail with `ExecutorError`; workers have ended on return."""
