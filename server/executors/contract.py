"""The contract of an executor. An executor runs jobs.

A job consists of units of work. Jobs that share an executor take turns after each unit. A job can stop between two
units. If a worker dies, at most one unit is lost.
"""

from collections.abc import Callable
from typing import Protocol

from ml_trainer_env.errors import MLTrainerError
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.job import Job, UnitResult

__all__ = ["Executor", "ExecutorError", "OnUnit", "OnWait", "ignore_unit", "wait_quietly"]

OnWait = Callable[[int], None]
"""Called about once a second on the caller's event loop while a job is queued. Receives the job's position in the
queue; 1 is next. An exception that it raises cancels the job."""

OnUnit = Callable[[UnitResult], None]
"""Called on the caller's event loop after each unit, before `run` returns. An exception that it raises cancels the
rest of the job."""


def wait_quietly(position: int) -> None:
    """An `OnWait` that does nothing."""


def ignore_unit(result: UnitResult) -> None:
    """An `OnUnit` that does nothing."""


class ExecutorError(MLTrainerError):
    """An executor could not run a job, for a reason outside the job. The message names the reason."""


class Executor(Protocol):
    """Runs jobs, first come first served.

    The first worker that is ready sets the executor's identity. A worker with another identity gets no jobs, or those
    of a lane of its own. The same job gives the same bits in every executor of the same identity. To cancel a job,
    cancel the task that awaits it, or use `asyncio.timeout`. A queued job then leaves the queue. A running job stops at
    its next batch.
    """

    @property
    def waiting(self) -> int:
        """Number of jobs in the queue. Any thread may read this and the other properties."""
        ...

    @property
    def busy(self) -> int:
        """Number of workers that run a job."""
        ...

    @property
    def worker_deaths(self) -> int:
        """Number of workers lost since the start. `close` does not count."""
        ...

    @property
    def ready(self) -> bool:
        """Whether at least one worker is warm. Then a job waits for other jobs only."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why no worker is ready, as text. None while workers start as usual."""
        ...

    async def start(self) -> None:
        """Start the workers. Returns before they are warm. The first job starts them too."""

    async def identity(self) -> Identity:
        """Wait until the first worker is ready, and return the identity. It does not change after that.

        Raises:
            ExecutorError: No worker can be started, or the executor is closed.
        """
        ...

    async def lane(self, key: str | None = None) -> "Executor":
        """Return the workers of one identity. Jobs that continue each other belong into one lane.

        Args:
            key: Key of the identity. None for jobs that continue nothing. One that no worker has had is the same.

        Raises:
            ExecutorError: As `identity`.
        """
        ...

    async def run(
        self, job: Job, timeout_s: float, on_wait: OnWait = wait_quietly, on_unit: OnUnit = ignore_unit
    ) -> tuple[UnitResult, ...]:
        """Run the units of a job, one after another.

        Args:
            job: The job. It is not changed.
            timeout_s: Time limit of each unit, in seconds. The time in the queue does not count.
            on_wait: Receives the job's position in the queue.
            on_unit: Receives the result of each unit.

        Returns:
            The results of the units, at least one. They are fewer than `job.units` if a unit ended the run, or if
            another job waited. In that case the job stops after the running unit.

        Raises:
            ExecutorError: A unit exceeded its time or memory, several workers died of it, no worker can be started,
                or the executor is closed. The units that `on_unit` received are done.
        """
        ...

    async def close(self) -> None:
        """Stop the workers and wait until they have ended. Running jobs fail with `ExecutorError`."""
