"""What the pool and a worker say to each other.

Messages alternate: the pool sends a `Request` and the worker answers it. Meanwhile the pool sends
nothing but, once, `Cancel`. A worker that sees something waiting while it trains therefore knows
what it is; it reads it only after its answer, and a `Cancel` read between two jobs means nothing.
So a `Cancel` that crosses an answer on its way does no harm.
"""

from dataclasses import dataclass

from ml_trainer_env.server.executors.contract import Job, JobResult
from ml_trainer_env.server.executors.identity import Identity

__all__ = ["Cancel", "Done", "Failed", "OutOfMemory", "Ready", "Request", "Stopped"]


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """Pool to worker: do a job."""

    job: Job


@dataclass(frozen=True, slots=True)
class Cancel:
    """Pool to worker: stop the job you are at, if you are."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Worker to pool: warm, and waiting for requests."""

    identity: Identity


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """Worker to pool: the job's result."""

    result: JobResult


@dataclass(frozen=True, slots=True)
class Stopped:
    """Worker to pool: the job was cancelled on the way."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Worker to pool: the job raised. That is a bug, and the traceback is for the log."""

    traceback: str


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """Worker to pool: I needed more memory than I could get. The worker's last message."""
