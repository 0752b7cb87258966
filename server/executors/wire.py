"""What passes between the pool and a worker: pickled messages over a pair of sockets.

Both ends are this package on this machine; nothing that came from a client is ever unpickled.
"""

import pickle
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from ml_trainer_env.server.executors.contract import EpochResult, Job

__all__ = ["Done", "Failed", "Ready", "Request", "receive", "send"]


@dataclass(frozen=True, slots=True)
class Request:
    """Pool to worker: do a job. Its data have empty arrays if the worker has seen them."""

    job: Job


@dataclass(frozen=True, slots=True)
class Ready:
    """Worker to pool: warm, and waiting for requests."""


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """Worker to pool: the job's result."""

    result: EpochResult | float


@dataclass(frozen=True, slots=True)
class Failed:
    """Worker to pool: the job raised. That is a bug, and the traceback is for the log."""

    traceback: str


def send(connection: Connection, message: Any) -> None:
    """Send a message whole.

    Raises:
        OSError: The other end is gone.
    """
    connection.send_bytes(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))


def receive(connection: Connection) -> Any:
    """Wait for a message.

    Raises:
        EOFError: The other end is gone.
        OSError: Likewise.
    """
    return pickle.loads(connection.recv_bytes())
