"""One worker process, as the pool uses it: start it, give it jobs, kill it. Its methods block."""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ml_trainer_env.server.executors.channel import Channel
from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.executors.conversation import ConversingWorker
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.startup import StartupWatch, snapshot_of
from ml_trainer_env.server.executors.worker_contract import StartupProgress, WorkerDiedError

__all__ = ["WorkerProcess", "WorkerSettings"]

_WORKER = "ml_trainer_env.server.executors.worker"

START_CHECK_INTERVAL_S = 1.0
"""Seconds between two checks of a starting worker."""

STUCK_S = 30.0
"""A worker that leaves a message half read or half sent for this many seconds hangs."""

_ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TOP_PAD_": str(16 << 20),
}
"""The worker keeps freed memory for the next batch instead of returning it to the system. So an epoch of a small
convolutional network takes 6 to 12 % less time. 32 MB is the largest mmap threshold that glibc accepts."""


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


class WorkerProcess(ConversingWorker):
    """A running worker.

    Args:
        settings: Its settings.

    Raises:
        OSError: The process cannot be started.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours, STUCK_S)
        super().__init__(self._channel, settings.memory_mb)
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

    def wait_ready(self, on_wait: Callable[[StartupProgress], None] = lambda _: None) -> Identity:
        """Wait until the worker is warm; see `Worker`. The limits are those of `startup`."""
        watch = StartupWatch(lambda: snapshot_of(self.pid))
        with self._killed_on_error():
            while not self._channel.has_message(START_CHECK_INTERVAL_S):
                if (exceeded := watch.check()) is not None:
                    raise ExecutorError(exceeded)
                on_wait(watch)
            return self._receive_ready()

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
