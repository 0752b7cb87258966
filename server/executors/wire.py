"""The messages between the pool and a worker.

The pool sends a `Request`. The worker answers with a `Unit` after each unit of work but the last. Then it answers with
`Done`, `Stopped` or `Failed`. Meanwhile the pool may send `Cancel` once and `Yield` once. The worker reads them
between two batches. The worker ignores a `Cancel` or `Yield` that it reads between two jobs.
"""

from dataclasses import dataclass

from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.job import Job, UnitResult

__all__ = ["Cancel", "Done", "Failed", "NotStarted", "OutOfMemory", "Ready", "Request", "Stopped", "Unit", "Yield"]


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """Pool to worker: run a job."""

    job: Job


@dataclass(frozen=True, slots=True)
class Cancel:
    """Pool to worker: stop the running job at its next batch."""


@dataclass(frozen=True, slots=True)
class Yield:
    """Pool to worker: end the running job after its running unit."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Worker to pool: the worker is warm and waits for requests."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class NotStarted:
    """Worker to pool: the worker cannot start. This is its last message."""

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """Worker to pool: the result of a unit of work. The next unit has begun."""

    result: UnitResult


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """Worker to pool: the result of the last unit of work. The job has ended."""

    result: UnitResult


@dataclass(frozen=True, slots=True)
class Stopped:
    """Worker to pool: the job was cancelled."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Worker to pool: the job raised an exception. That is a bug. The traceback is for the log."""

    traceback: str


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """Worker to pool: the worker ran out of memory. This is its last message."""
