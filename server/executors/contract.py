"""Where jobs run: the contract that every executor keeps.

The unit of work is what a job counts in. Jobs that share an executor take turns unit by unit, a job can stop
between two units, and a worker that dies costs one unit at most.
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

    An executor has one identity: that of the worker that was ready first. A worker of another identity gets no
    jobs. The same job gives the same bits in every executor of the same identity. To cancel a job, cancel
    the task that awaits it, or use `asyncio.timeout`. A queued job leaves the queue, and a running job stops at its
    next batch, soon after.
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
        """Why no worker is ready, in words; None while workers start as usual."""
        ...

    async def start(self) -> None:
        """Start the workers; returns before they are warm. The first job does it too."""

    async def identity(self) -> Identity:
        """What results depend on besides their jobs. Known once the first worker is ready, and the same from then on.

        Raises:
            ExecutorError: No worker can be started, or the executor is closed.
        """
        ...

    async def run(
        self, job: Job, timeout_s: float, on_wait: OnWait = wait_quietly, on_unit: OnUnit = ignore_unit
    ) -> tuple[UnitResult, ...]:
        """Run the units of a job, one after another.

        Args:
            job: The job; nothing in it is changed.
            timeout_s: Time that each unit may take once it has begun.
            on_wait: Receives the job's position in the queue.
            on_unit: Receives the result of each unit.

        Returns:
            The units done, at least one. They are fewer than the job asks for if a unit ended the run, or if another
            job waited: then the job gave up its turn after the unit that was running.

        Raises:
            ExecutorError: A unit ran over its time or out of memory, workers died of it again and again or cannot
                be started, or the executor is closed. The units that `on_unit` received are done.
        """
        ...

    async def close(self) -> None:
        """Stop. Running jobs fail with `ExecutorError`; workers have ended on return."""
