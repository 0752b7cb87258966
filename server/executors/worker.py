"""A worker process of the pool: `python -m ml_trainer_env.server.executors.worker FD THREADS MEMORY_MB`.

It takes requests from the socket FD until that closes. Its standard input is a lifeline: the pool
holds the other end and never writes, so when the pool's process ends, in whatever way, the read
comes back and the worker exits at once, in the middle of an epoch if need be.
"""

import contextlib
import os
import socket
import sys
import threading
import traceback

import torch

from ml_trainer_env.server.executors.channel import Channel
from ml_trainer_env.server.executors.contract import Job
from ml_trainer_env.server.executors.jobs import JobRunner, lacks_memory
from ml_trainer_env.server.executors.wire import Cancel, Done, Failed, OutOfMemory, Ready, Request, Stopped
from ml_trainer_env.server.trainer.errors import Interrupted

NICENESS = 5
"""Workers step back a little, so that the server's event loop answers while they train."""


def main() -> None:
    """Serve requests until the pool closes its end, or memory runs out."""
    descriptor, threads, memory_mb = map(int, sys.argv[1:])
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    os.nice(NICENESS)
    torch.set_num_interop_threads(1)
    channel = Channel(socket.socket(fileno=descriptor))
    with contextlib.closing(channel), contextlib.suppress(EOFError, OSError):
        try:
            if memory_mb:
                _limit_memory(memory_mb)
            runner = JobRunner(threads)
            serve(channel, runner)
        except Exception as error:
            if not lacks_memory(error):
                raise
            channel.send(OutOfMemory())


def serve(channel: Channel, runner: JobRunner) -> None:
    """Answer requests until the other end is gone.

    Raises:
        EOFError: It is.
        OSError: Likewise.
    """
    channel.send(Ready(runner.identity))
    while True:
        match channel.receive():
            case Request(job):
                channel.send(_answer(channel, runner, job))
            case Cancel():
                pass  # it crossed the answer it was too late for


def _answer(channel: Channel, runner: JobRunner, job: Job) -> Done | Stopped | Failed:
    try:
        return Done(runner.run(job, interrupted=channel.has_message))
    except Interrupted:
        return Stopped()
    except Exception as error:  # the worker's boundary: a bug is reported and the worker lives on
        if lacks_memory(error):
            raise
        return Failed(traceback.format_exc())


def _exit_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def _limit_memory(megabytes: int) -> None:
    """Let allocations fail beyond that. Linux counts private writable memory; macOS enforces nothing."""
    import resource  # not there on Windows

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = megabytes << 20
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main()
