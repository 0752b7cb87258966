"""A worker process of the pool: `python -m ml_trainer_env.server.executors.worker FD SETTINGS`.

It takes requests from the socket FD until that closes. SETTINGS is a `WorkerSettings` as JSON. The pool holds the other
end of its standard input and never writes to it. When the pool's process ends, the read from standard input returns.
The worker then exits at once, even within a unit of work.
"""

import contextlib
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from ml_trainer_env.server.executors.channel import Channel
from ml_trainer_env.server.executors.conversation import Link
from ml_trainer_env.server.executors.job import Job, UnitResult
from ml_trainer_env.server.executors.process_limits import limit_memory, lower_priority
from ml_trainer_env.server.executors.runner import JobRunner, is_out_of_memory
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
from ml_trainer_env.server.executors.worker_process import WorkerSettings
from ml_trainer_env.server.trainer.errors import Interrupted


def main() -> None:
    """Serve requests until the pool closes its end or memory runs out."""
    descriptor, settings = int(sys.argv[1]), WorkerSettings.from_json(sys.argv[2])
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    lower_priority()
    channel = Channel(socket.socket(fileno=descriptor))
    with contextlib.closing(channel), contextlib.suppress(EOFError, OSError):
        work(channel, settings)


def work(channel: Link, settings: WorkerSettings) -> None:
    """Warm up within the limits of memory, and serve requests.

    Raises:
        EOFError: The other end has closed.
        OSError: The connection has failed.
    """
    torch.set_num_interop_threads(1)
    try:
        if settings.memory_mb:
            limit_memory(settings.memory_mb)
        serve(channel, _warm_runner(channel, settings))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        channel.send(OutOfMemory())


def _warm_runner(channel: Link, settings: WorkerSettings) -> JobRunner:
    """Return a runner whose identity is known. Tells the other end why there is none."""
    try:
        return JobRunner(settings.torch_threads, settings.probe, settings.options)
    except Exception as error:
        if not is_out_of_memory(error):
            channel.send(NotStarted(f"{type(error).__name__}: {error}"))
        raise


def serve(channel: Link, runner: JobRunner) -> None:
    """Answer requests until the other end closes.

    Raises:
        EOFError: The other end has closed.
        OSError: The connection has failed.
    """
    channel.send(Ready(runner.identity))
    with ThreadPoolExecutor(1, "results") as sender:
        while True:
            match channel.receive():
                case Request(job):
                    _run(channel, sender, runner, job)
                case Cancel() | Yield():
                    pass  # it came too late


def _run(channel: Link, sender: ThreadPoolExecutor, runner: JobRunner, job: Job) -> None:
    """Run a job and send the results of its units, or its error."""
    commands, results = _PoolCommands(channel), _ResultSender(channel, sender)
    try:
        runner.run(job, commands.is_cancelled, results.send, commands.should_yield)
    except Interrupted:
        results.wait()
        channel.send(Stopped())
    except Exception as error:  # the worker's boundary: a bug is reported and the worker goes on
        if is_out_of_memory(error) or isinstance(error, torch.AcceleratorError):
            raise  # the context on a GPU does not recover from its errors
        results.wait()
        channel.send(Failed(traceback.format_exc()))


class _PoolCommands:
    """The commands that the pool sends while a job runs."""

    def __init__(self, channel: Link) -> None:
        self._channel = channel
        self._cancelled = False
        self._yields = False

    def is_cancelled(self) -> bool:
        """Whether the job must stop now."""
        self._read()
        return self._cancelled

    def should_yield(self) -> bool:
        """Whether the job must end after its running unit."""
        self._read()
        return self._yields

    def _read(self) -> None:
        while not self._cancelled and self._channel.has_message():
            try:
                command = self._channel.receive()
            except (EOFError, OSError):
                self._cancelled = True  # the pool has closed; the next `send` will raise
            else:
                self._cancelled |= isinstance(command, Cancel)
                self._yields |= isinstance(command, Yield)


class _ResultSender:
    """Sends results. Another thread completes and sends them while the next unit runs, except a job's last."""

    def __init__(self, channel: Link, sender: ThreadPoolExecutor) -> None:
        self._channel = channel
        self._sender = sender
        self._sending: Future[None] | None = None

    def send(self, complete: Callable[[], UnitResult], is_last: bool) -> None:
        """Send a result after the earlier ones."""
        self.wait()
        if is_last:
            self._channel.send(Done(complete()))
        else:
            self._sending = self._sender.submit(lambda: self._channel.send(Unit(complete())))

    def wait(self) -> None:
        """Wait until all results are sent. Raises the error of the sending thread."""
        if self._sending is not None:
            sending, self._sending = self._sending, None
            sending.result()


def _exit_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
