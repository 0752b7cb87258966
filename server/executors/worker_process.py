"""One worker process, seen from the pool: start it, ask it, kill it. Blocking; no threads here."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import OrderedDict
from dataclasses import replace
from multiprocessing.connection import Connection

import numpy as np

from ml_trainer_env.server.executors.contract import KEPT_TASKS, EpochResult, ExecutorError, Job
from ml_trainer_env.server.executors.wire import Done, Failed, Request, receive, send
from ml_trainer_env.server.trainer.images import ImageArrays

__all__ = ["WorkerProcess"]

_WORKER = "ml_trainer_env.server.executors.worker"
_EMPTY = np.empty(0, np.uint8)


class WorkerProcess:
    """A running worker.

    Args:
        torch_threads: How many threads its torch computes with.
    """

    def __init__(self, torch_threads: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _WORKER, str(theirs.fileno()), str(torch_threads)],
                stdin=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env=_environment(torch_threads),
            )
        self._connection = Connection(ours.detach())
        self._ready = False
        self._seen: OrderedDict[str, None] = OrderedDict()

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the worker is warm.

        Raises:
            ExecutorError: It died, or was not ready in time. It has ended on return.
        """
        if not self._ready:
            self._receive(timeout_s, f"a worker was not ready within {timeout_s:g} s")
            self._ready = True

    def ask(self, job: Job, timeout_s: float) -> EpochResult | float:
        """Have a job done.

        Raises:
            ExecutorError: The worker died or ran over its time; it has ended on return.
            RuntimeError: The job raised, which is a bug; the worker lives on.
        """
        known = job.data.key in self._seen
        request = Request(replace(job, data=_without_arrays(job.data)) if known else job)
        try:
            send(self._connection, request)
        except OSError:
            raise self._death() from None
        self._remember(job.data.key)
        answer = self._receive(timeout_s, f"the epoch took longer than {timeout_s:g} s")
        if isinstance(answer, Failed):
            raise RuntimeError(f"a job failed in a worker:\n{answer.traceback}")
        assert isinstance(answer, Done)
        return answer.result

    def kill(self) -> None:
        """End the process and wait for it. May be called twice, and from another thread."""
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process and release what belongs to it."""
        self.kill()
        self._connection.close()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _receive(self, timeout_s: float, overdue: str) -> object:
        try:
            if self._connection.poll(timeout_s):
                return receive(self._connection)
        except (EOFError, OSError):
            raise self._death() from None
        self.kill()
        raise ExecutorError(overdue)

    def _death(self) -> ExecutorError:
        self.kill()
        code = self._process.returncode
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return ExecutorError(f"the worker process died ({how})")

    def _remember(self, key: str) -> None:
        """Keep the same books as the worker's `JobRunner` does of its data."""
        self._seen[key] = None
        self._seen.move_to_end(key)
        while len(self._seen) > KEPT_TASKS:
            self._seen.popitem(last=False)


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


def _without_arrays(data: ImageArrays) -> ImageArrays:
    return replace(
        data,
        train_images=_EMPTY,
        train_labels=_EMPTY,
        validation_images=_EMPTY,
        validation_labels=_EMPTY,
        test_images=_EMPTY,
        test_labels=_EMPTY,
    )
