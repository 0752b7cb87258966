"""One worker process, seen from the pool: start it, give it jobs, kill it. Blocking; no threads here."""

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

from ml_trainer_env.server.executors.bell import Bell
from ml_trainer_env.server.executors.channel import Channel
from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.job_queue import QueuedJob
from ml_trainer_env.server.executors.startup import StartupWatch, standing_of
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

START_LOOK_EVERY_S = 1.0
"""How often a worker that is starting is looked at."""

STOP_TIMEOUT_S = 5.0
"""A worker that should stop has done so at its next batch, milliseconds later, or hangs."""

STUCK_S = 30.0
"""A worker that leaves a message half read or half sent for so long hangs."""


_ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TOP_PAD_": str(16 << 20),
}
"""Freed memory stays with the worker for the next batch, instead of going back to the system: an epoch of a small
convolutional network needs 6 to 12 % less time. 32 MB is the largest mmap threshold that glibc takes."""


class WorkerDiedError(ExecutorError):
    """The worker process ended by itself, or somebody else killed it."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How a worker process runs.

    Attributes:
        torch_threads: How many threads its torch computes with.
        memory_mb: How much private memory it may have, None for as much as there is. Without effect
            where the system does not enforce it (macOS).
        probe: Reference of the engine's probe.
        options: Options of its jobs.
    """

    torch_threads: int
    memory_mb: int | None
    probe: str
    options: Mapping[str, int | str]

    def to_json(self) -> str:
        """The settings as text, for a command line."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return json.dumps({**fields, "options": dict(self.options)})

    @classmethod
    def from_json(cls, text: str) -> "WorkerSettings":
        """The settings that `to_json` was called on."""
        return cls(**json.loads(text))


class WorkerProcess:
    """A running worker.

    Args:
        settings: How it runs.

    Raises:
        OSError: No process can be started.
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

    def run(self, queued: QueuedJob, bell: Bell, is_crowded: Callable[[], bool]) -> None:
        """Have the rest of a job run, and deliver the result of each unit.

        Args:
            queued: The job. It is stopped when it is cancelled, or when a unit runs over its time.
            bell: Rings when `queued` was cancelled or another job came.
            is_crowded: Whether the job should give up its turn after the unit that is running.

        Raises:
            WorkerDiedError: The worker died.
            ExecutorError: The job was stopped, and the worker with it if it did not obey; or the worker
                ran out of memory and has ended.
            RuntimeError: The job raised an exception, which is a bug; the worker lives on.
        """
        with self._watched():
            self._channel.send(Request(queued.rest()))
            answer = self._answer(queued, bell, is_crowded)
            if isinstance(answer, OutOfMemory):
                raise ExecutorError(f"{queued.job.a_unit} needed more memory than {self._memory}")
        match answer:
            case Done(result):
                queued.results.append(result)
            case Stopped():
                raise queued.overdue()
            case Failed(text):
                raise RuntimeError(f"a job failed in a worker:\n{text}")

    def _answer(self, queued: QueuedJob, bell: Bell, is_crowded: Callable[[], bool]) -> Any:
        """Deliver results until the worker gives its last answer, and pass on what it has to know meanwhile."""
        waiting = select.poll()
        for descriptor in (self._channel.fileno(), bell.fileno()):
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
                raise queued.overdue()
            if not was_asked_to_yield and is_crowded():
                self._channel.send(Yield())
                was_asked_to_yield = True
            waiting.poll(left_s * 1000)
            bell.silence()
            if self._channel.has_message():
                message = self._channel.receive()
                if not isinstance(message, Unit):
                    return message
                queued.deliver(message.result)
                if not was_stopped:
                    deadline = time.monotonic() + queued.timeout_s

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

    The settings of glibc's allocator may be overridden by the server's own environment. Other allocators ignore them.
    """
    return {
        **_ALLOCATOR,
        **os.environ,
        "OMP_NUM_THREADS": str(torch_threads),
        "OMP_WAIT_POLICY": "passive",
        "PYTHONUNBUFFERED": "1",
    }
