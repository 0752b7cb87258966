"""Where training runs: the contract that every executor keeps.

The unit of work is one epoch. Sessions that share an executor therefore take turns epoch by epoch,
a call can stop between epochs, and whatever happens to a worker costs one epoch at the most.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ml_trainer_env.errors import MLTrainerError
from ml_trainer_env.server.datasets import Permutation
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.trainer.config import TrainingConfig
from ml_trainer_env.server.trainer.examples import Examples
from ml_trainer_env.server.trainer.metrics import EpochMetrics
from ml_trainer_env.server.trainer.schedules import LearningRatePlan
from ml_trainer_env.server.trainer.state import FreshState, TrainingState

__all__ = [
    "KEPT_TASKS",
    "EpochJob",
    "EpochResult",
    "Executor",
    "ExecutorError",
    "HeldOutJob",
    "Job",
    "JobResult",
    "OnWait",
    "wait_quietly",
]


KEPT_TASKS = 4
"""Whoever runs jobs keeps the data of the last so many tasks in memory; each permutation counts as one."""

OnWait = Callable[[int], None]
"""Hears about once a second, on the event loop of the caller, the place of a job that still waits:
1 is the next to be taken. What it raises ends the wait like a cancellation."""


def wait_quietly(place: int) -> None:
    """The `OnWait` of a caller who does not want to know."""


class ExecutorError(MLTrainerError):
    """An executor could not do a job, through no fault of the job. The message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class EpochJob:
    """Train for one epoch.

    Attributes:
        state: Where to start, or the name of the fresh state to start from.
        config: The settings.
        plan: The learning rate by epoch.
        data: The task's images.
        permutation: What is done to them; None leaves them as they are. Apart from them, so that
            episodes with permutations of their own share the images.
    """

    state: TrainingState | FreshState
    config: TrainingConfig
    plan: LearningRatePlan
    data: Examples
    permutation: Permutation | None = None


@dataclass(frozen=True, slots=True, eq=False)
class EpochResult:
    """What an epoch came to.

    Attributes:
        state: The state after it.
        metrics: Its figures.
        seconds: Wall time it took where it ran.
        weights_hash: `weights_hash` of the state, hex, computed where the epoch ran.
        identity: Key of the `Identity` of what trained it.
    """

    state: TrainingState
    metrics: EpochMetrics
    seconds: float
    weights_hash: str
    identity: str


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutJob:
    """Measure the accuracy on held-out images.

    Attributes:
        state: The model.
        data: The task's images.
        permutation: As of `EpochJob`.
    """

    state: TrainingState
    data: Examples
    permutation: Permutation | None = None


Job = EpochJob | HeldOutJob
JobResult = EpochResult | float


class Executor(Protocol):
    """Runs jobs, first come first served.

    An executor has one identity: that of the worker that was ready first. A worker of another identity gets no
    jobs. The same job gives the same bits in every executor of the same identity. To cancel a job, cancel
    the task that awaits it, or let it time out with `asyncio.timeout`: a job that waits leaves the
    queue, and one that runs is stopped at its next batch, soon after.
    """

    @property
    def waiting(self) -> int:
        """Jobs in the queue. This and the other properties may be read from any thread."""
        ...

    @property
    def busy(self) -> int:
        """Workers with a job."""
        ...

    @property
    def worker_deaths(self) -> int:
        """Workers lost since the start, for whatever reason but `close`."""
        ...

    @property
    def ready(self) -> bool:
        """Whether at least one worker is warm, so that a job would begin at once or wait for others only."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why no worker is ready, in words; None if there is no more to say than that workers are starting."""
        ...

    async def start(self) -> None:
        """Make ready to take jobs; returns before workers are warm. The first job does it too."""

    async def identity(self) -> Identity:
        """What results depend on besides their jobs. Known once the first worker is ready, and the same from then on.

        Raises:
            ExecutorError: No worker can be started, or the executor is closed.
        """
        ...

    async def run_epoch(self, job: EpochJob, timeout_s: float, on_wait: OnWait = wait_quietly) -> EpochResult:
        """Train for one epoch.

        Args:
            job: What to do; nothing in it is changed.
            timeout_s: Time the epoch may take once it has begun.
            on_wait: Hears the job's place in the queue.

        Raises:
            ExecutorError: The epoch ran over its time or out of memory, workers died of it again and
                again or cannot be started, or the executor is closed. Nothing was trained.
        """
        ...

    async def held_out_accuracy(self, job: HeldOutJob, timeout_s: float, on_wait: OnWait = wait_quietly) -> float:
        """Share of the held-out images classified right.

        Raises:
            ExecutorError: As `run_epoch`.
        """
        ...

    async def close(self) -> None:
        """Stop. Jobs under way fail with `ExecutorError`; workers have ended on return."""
