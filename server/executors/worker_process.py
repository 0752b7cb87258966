"""One worker process, seen from the pool: start it, ask it, kill it. Blocking; no threads here."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from ml_trainer_env.server.executors.channel import Channel
from ml_trainer_env.server.executors.contract import ExecutorError, JobResult
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.startup import StartupWatch, standing_of
from ml_trainer_env.server.executors.tickets import Ticket
from ml_trainer_env.server.executors.wire import Cancel, Done, Failed, OutOfMemory, Ready, Request

__all__ = ["WorkerDiedError", "WorkerProcess"]

_WORKER = "ml_trainer_env.server.executors.worker"

START_LOOK_EVERY_S = 1.0
"""How often a worker that is starting is looked at."""

CANCEL_LOOK_EVERY_S = 0.05
"""How soon a cancellation is passed on."""

STOP_TIMEOUT_S = 5.0
"""A worker that should stop has done so at its next batch, milliseconds later, or hangs."""

STUCK_S = 30.0
"""A worker that leaves a message half read or half sent for so long hangs."""


class WorkerDiedError(ExecutorError):
    """The worker process ended by itself, or somebody else killed it."""


class WorkerProcess:
    """A running worker.

    Args:
        torch_threads: How many threads its torch computes with.
        memory_mb: How much private memory it may have, None for as much as there is. Without effect
            where the system does not enforce it (macOS).

    Raises:
        OSError: No process can be started.
    """

    def __init__(self, torch_threads: int, memory_mb: int | None = None) -> None:
        self._memory_mb = memory_mb
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours, STUCK_S)
        with theirs, contextlib.ExitStack() as on_failure:
            on_failure.callback(self._channel.close)
            self._process = subprocess.Popen(
                [sys.executable, "-m", _WORKER, str(theirs.fileno()), str(torch_threads), str(memory_mb or 0)],
                stdin=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env=_environment(torch_threads),
            )
            on_failure.pop_all()

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def wait_ready(self, on_wait: Callable[[StartupWatch], None] = lambda _: None) -> Identity:
        """Wait until the worker is warm. On a busy machine that may take as long as it takes; see `startup`.

        Args:
            on_wait: Called about once a second meanwhile.

        Returns:
            The worker's identity.

        Raises:
            ExecutorError: It died, was not ready in time or ran out of memory. It has ended on return.
        """
        watch = StartupWatch(lambda: standing_of(self.pid))
        with self._watched():
            while not self._channel.has_message(START_LOOK_EVERY_S):
                if (verdict := watch.verdict()) is not None:
                    raise ExecutorError(verdict)
                on_wait(watch)
            told = self._channel.receive()
            if isinstance(told, OutOfMemory):
                raise ExecutorError(f"a worker needed more memory to start than {self._memory}")
            assert isinstance(told, Ready)
            return told.identity

    def do(self, ticket: Ticket) -> JobResult:
        """Have a ticket's job done, unless the ticket is cancelled or runs over its time meanwhile.

        Raises:
            WorkerDiedError: The worker died.
            ExecutorError: The job was stopped, and the worker with it if it did not obey; or the worker
                ran out of memory and has ended.
            RuntimeError: The job raised, which is a bug; the worker lives on.
        """
        deadline = time.monotonic() + ticket.timeout_s
        with self._watched():
            self._channel.send(Request(ticket.job))
            self._wait_for_answer(ticket, deadline)
            answer = self._channel.receive()
            if isinstance(answer, OutOfMemory):
                raise ExecutorError(f"an epoch needed more memory than {self._memory}")
        match answer:
            case Done(result):
                return result
            case Failed(text):
                raise RuntimeError(f"a job failed in a worker:\n{text}")
        raise ticket.overdue()

    def kill(self) -> None:
        """End the process and wait for it. May be called twice, and from another thread."""
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process and release what belongs to it."""
        self.kill()
        self._channel.close()
        assert self._process.stdin is not None
        self._process.stdin.close()

    @property
    def _memory(self) -> str:
        return f"the worker's limit of {self._memory_mb} MB" if self._memory_mb else "there is"

    def _wait_for_answer(self, ticket: Ticket, deadline: float) -> None:
        """Wait until there is one, and at the deadline or the ticket's cancellation ask for one without result."""
        left_s = ticket.timeout_s
        while not self._channel.has_message(min(left_s, CANCEL_LOOK_EVERY_S)):
            left_s = max(0.0, deadline - time.monotonic())
            if left_s == 0 or ticket.cancelled.is_set():
                self._channel.send(Cancel())
                if not self._channel.has_message(STOP_TIMEOUT_S):
                    raise ticket.overdue()
                return

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Around an exchange of messages: whatever goes wrong in it is the worker's end."""
        try:
            yield
        except (EOFError, OSError):
            raise self._death() from None
        except Exception:
            self.kill()
            raise

    def _death(self) -> WorkerDiedError:
        self.kill()
        code = self._process.returncode
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        within = f" with {self._memory}" if self._memory_mb else ""
        return WorkerDiedError(f"the worker process died ({how}){within}")


def _environment(torch_threads: int) -> dict[str, str]:
    """The worker's environment.

    OpenMP threads that wait by spinning ruin each other where there are more of them than cores:
    an epoch of 50 ms was seen to take 10 s beside two busy processes. Passive waiting does not.
    """
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(torch_threads),
        "OMP_WAIT_POLICY": "passive",
        "PYTHONUNBUFFERED": "1",
    }
