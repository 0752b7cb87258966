"""The executor's side of a worker that is reached by messages (`wire`), whatever carries them."""

import contextlib
import select
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.job_queue import QueuedJob
from ml_trainer_env.server.executors.wakeup import Wakeup
from ml_trainer_env.server.executors.wire import (
    Cancel,
    Done,
    Failed,
    NotStarted,
    OutOfMemory,
    Ready,
    Request,
    Stopped,
    Unit,
    Yield,
)
from ml_trainer_env.server.executors.worker_contract import WorkerDiedError

__all__ = ["ConversingWorker", "Link"]

STOP_TIMEOUT_S = 5.0
"""Seconds to wait after `Cancel`. A worker stops at its next batch, within milliseconds; otherwise it hangs."""


class Link(Protocol):
    """One end of a connection that carries messages.

    Raises (`send` and `receive`):
        EOFError: The other end has closed or died.
        OSError: The connection has failed.
    """

    def send(self, message: object) -> None:
        """Send a message."""
        ...

    def receive(self) -> Any:
        """Wait for a message and return it."""
        ...

    def has_message(self, timeout_s: float = 0.0) -> bool:
        """Wait until `receive` would not block. Returns false after the timeout."""
        ...


class PolledLink(Link, Protocol):
    """A link that can be waited for beside others."""

    def fileno(self) -> int:
        """Return a descriptor that is readable while there is a message."""
        ...


class ConversingWorker(ABC):
    """A worker at the other end of a link.

    Args:
        link: The link. It is not closed here.
        memory_mb: Limit for the worker's private memory, in MB. None for no limit. For texts.
    """

    def __init__(self, link: PolledLink, memory_mb: int | None) -> None:
        self._link = link
        self._memory_mb = memory_mb

    @abstractmethod
    def kill(self) -> None:
        """Kill the worker and wait for its end. May be called twice, and from any thread."""

    @abstractmethod
    def _died_error(self) -> WorkerDiedError:
        """Return the error of a worker whose link has failed."""

    def run(self, queued: QueuedJob, wakeup: Wakeup, is_crowded: Callable[[], bool]) -> None:
        """Run the rest of a job and deliver the result of each unit; see `Worker`."""
        with self._killed_on_error():
            self._link.send(Request(queued.rest()))
            answer = self._exchange(queued, wakeup, is_crowded)
            if isinstance(answer, OutOfMemory):
                raise ExecutorError(f"{queued.job.a_unit} needed more memory than {self._memory}")
        match answer:
            case Done(result):
                queued.results.append(result)
            case Stopped():
                raise queued.timeout_error()
            case Failed(text):
                raise RuntimeError(f"a job failed in a worker:\n{text}")

    def _receive_ready(self) -> Identity:
        """Receive the worker's first message.

        Raises:
            ExecutorError: The worker cannot start, or ran out of memory.
        """
        message = self._link.receive()
        if isinstance(message, NotStarted):
            limit = f" (with {self._memory})" if self._memory_mb else ""
            raise ExecutorError(f"{message.reason}{limit}")
        if isinstance(message, OutOfMemory):
            raise ExecutorError(f"a worker needed more memory to start than {self._memory}")
        assert isinstance(message, Ready)
        return message.identity

    def _exchange(self, queued: QueuedJob, wakeup: Wakeup, is_crowded: Callable[[], bool]) -> Any:
        """Deliver results, and send `Cancel` and `Yield` when they are due. Returns the worker's last message."""
        waiting = select.poll()
        for descriptor in (self._link.fileno(), wakeup.fileno()):
            waiting.register(descriptor, select.POLLIN)
        deadline = time.monotonic() + queued.timeout_s
        was_stopped, was_asked_to_yield = False, queued.rest().units == 1
        while True:
            left_s = deadline - time.monotonic()
            if not was_stopped and (left_s <= 0 or queued.cancelled.is_set()):
                self._link.send(Cancel())
                was_stopped, left_s = True, STOP_TIMEOUT_S
                deadline = time.monotonic() + left_s
            elif left_s <= 0:
                raise queued.timeout_error()
            if not was_asked_to_yield and is_crowded():
                self._link.send(Yield())
                was_asked_to_yield = True
            waiting.poll(left_s * 1000)
            wakeup.clear()
            if self._link.has_message():
                message = self._link.receive()
                if not isinstance(message, Unit):
                    return message
                queued.deliver(message.result)
                if not was_stopped:
                    deadline = time.monotonic() + queued.timeout_s

    @property
    def _memory(self) -> str:
        return f"the worker's limit of {self._memory_mb} MB" if self._memory_mb else "there is"

    @contextlib.contextmanager
    def _killed_on_error(self) -> Iterator[None]:
        """Kill the worker if the body raises. A failed connection raises `WorkerDiedError`."""
        try:
            yield
        except (EOFError, OSError):
            raise self._died_error() from None
        except Exception:  # whatever it is, it may have cut a message in two; it is raised again
            self.kill()
            raise
