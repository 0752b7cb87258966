"""One worker process, as the pool uses it: start it, give it jobs, kill it. Its methods block."""

import contextlib
import dataclasses
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ml_trainer_env.server.executors.channel import Channel
from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.job_queue import QueuedJob
from ml_trainer_env.server.executors.startup import StartupWatch, snapshot_of
from ml_trainer_env.server.executors.wakeup import Wakeup
from ml_trainer_env.server.executors.wire import (
    Cancel,
    Done,
    Failed,
    OutOfMemory,
    Ready,
    Request,
    Stopped,
    Unit,
    Yield,
)

__all__ = ["WorkerDiedError", "WorkerProcess", "WorkerSettings"]

_WORKER = "ml_trainer_env.server.executors.worker"

START_CHECK_INTERVAL_S = 1.0
"""Seconds between two checks of a starting worker."""

STOP_TIMEOUT_S = 5.0
"""Seconds to wait after `Cancel`. A worker stops at its next batch, within milliseconds; otherwise it hangs."""

STUCK_S = 30.0
"""A worker that leaves a message half read or half sent for this many seconds hangs."""

_ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TOP_PAD_": str(16 << 20),
}
"""The worker keeps freed memory for the next batch instead of returning it to the system. So an epoch of a small
convolutional network takes 6 to 12 % less time. 32 MB is the largest mmap threshold that glibc accepts."""


class WorkerDiedError(ExecutorError):
    """The worker process ended by itself, or another process killed it."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Settings of a worker process.

    Attributes:
        torch_threads: Number of threads that torch computes with.
        memory_mb: Limit for private memory, in MB. None for no limit. It has no effect where the system does not
            enforce it (macOS).
        probe: Reference of the engine's probe.
        options: Options of the jobs.
    """

    torch_threads: int
    memory_mb: int | None
    probe: str
    options: Mapping[str, int | str]

    def to_json(self) -> str:
        """Return the settings as JSON, for a command line."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return json.dumps({**fields, "options": dict(self.options)})

    @classmethod
    def from_json(cls, text: str) -> "WorkerSettings":
        """Read the settings from the text that `to_json` returned."""
        return cls(**json.loads(text))


class WorkerProcess:
    """A running worker.

    Args:
        settings: Its settings.

    Raises:
        OSError: The process cannot be started.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._memory_mb = settings.memory_mb
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours, STUCK_S)
        with theirs, contextlib.ExitStack() as on_failure:
            on_failure.callback(self._channel.close)
            self._process = subprocess.Popen(
                [sys.executable, "-m", _WORKER, str(theirs.fileno()), settings.to_json()],
                stdin=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env=_environment(settings.torch_threads),
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
        """Wait until the worker is warm. The limits are those of `startup`.

        Args:
            on_wait: Called about once a second meanwhile.

        Returns:
            The worker's identity.

        Raises:
            ExecutorError: The worker died, exceeded a limit or ran out of memory. Its process has ended.
        """
        watch = StartupWatch(lambda: snapshot_of(self.pid))
        with self._killed_on_error():
            while not self._channel.has_message(START_CHECK_INTERVAL_S):
                if (exceeded := watch.check()) is not None:
                    raise ExecutorError(exceeded)
                on_wait(watch)
            message = self._channel.receive()
            if isinstance(message, OutOfMemory):
                raise ExecutorError(f"a worker needed more memory to start than {self._memory}")
            assert isinstance(message, Ready)
            return message.identity

    def run(self, queued: QueuedJob, wakeup: Wakeup, is_crowded: Callable[[], bool]) -> None:
        """Run the rest of a job and deliver the result of each unit.

        Args:
            queued: The job. It is stopped when it is cancelled or a unit exceeds its time.
            wakeup: Set when `queued` was cancelled or another job was queued.
            is_crowded: Returns whether the job should end after its running unit.

        Raises:
            WorkerDiedError: The worker died.
            ExecutorError: The job was stopped. Its worker was killed if it did not stop. Or the worker ran out of
                memory and has ended.
            RuntimeError: The job raised an exception. This is a bug. The worker goes on.
        """
        with self._killed_on_error():
            self._channel.send(Request(queued.rest()))
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

    def _exchange(self, queued: QueuedJob, wakeup: Wakeup, is_crowded: Callable[[], bool]) -> Any:
        """Deliver results, and send `Cancel` and `Yield` when they are due. Returns the worker's last message."""
        waiting = select.poll()
        for descriptor in (self._channel.fileno(), wakeup.fileno()):
            waiting.register(descriptor, select.POLLIN)
        deadline = time.monotonic() + queued.timeout_s
        was_stopped, was_asked_to_yield = False, queued.rest().units == 1
        while True:
            left_s = deadline - time.monotonic()
            if not was_stopped and (left_s <= 0 or queued.cancelled.is_set()):
                self._channel.send(Cancel())
                was_stopped, left_s = True, STOP_TIMEOUT_S
                deadline = time.monotonic() + left_s
            elif left_s <= 0:
                raise queued.timeout_error()
            if not was_asked_to_yield and is_crowded():
                self._channel.send(Yield())
                was_asked_to_yield = True
            waiting.poll(left_s * 1000)
            wakeup.clear()
            if self._channel.has_message():
                message = self._channel.receive()
                if not isinstance(message, Unit):
                    return message
                queued.deliver(message.result)
                if not was_stopped:
                    deadline = time.monotonic() + queued.timeout_s

    def kill(self) -> None:
        """Kill the process and wait for it. May be called twice, and from any thread."""
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Kill the process and close the connection to it."""
        self.kill()
        self._channel.close()
        assert self._process.stdin is not None
        self._process.stdin.close()

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
        except Exception:
            self.kill()
            raise

    def _died_error(self) -> WorkerDiedError:
        self.kill()
        code = self._process.returncode
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        within = f" with {self._memory}" if self._memory_mb else ""
        return WorkerDiedError(f"the worker process died ({how}){within}")


def _environment(torch_threads: int) -> dict[str, str]:
    """Return the worker's environment variables.

    OpenMP threads that spin while they wait slow each other down if they outnumber the cores. An epoch of 50 ms took
    10 s beside two busy processes. Passive waiting avoids this.

    The server's own environment overrides the settings of glibc's allocator. Other allocators ignore them.
    """
    return {
        **_ALLOCATOR,
        **os.environ,
        "OMP_NUM_THREADS": str(torch_threads),
        "OMP_WAIT_POLICY": "passive",
        "PYTHONUNBUFFERED": "1",
    }
