"""What trains in this process: an event loop, an executor that is a thread of it, and a source of units of work."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing.util import Finalize

from ml_trainer_env.server.episodes.units import LiveSource
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.trainer import PROBE

__all__ = ["Trainer", "trainer", "trainer_of_process"]


@dataclass(frozen=True, slots=True)
class Trainer:
    """Trains in this process.

    Attributes:
        loop: The event loop of its episodes.
        executor: The executor.
        source: A source of units that keeps nothing.
        identity: What its results depend on.
    """

    loop: asyncio.AbstractEventLoop
    executor: InProcessExecutor
    source: LiveSource
    identity: Identity


@contextmanager
def trainer(threads: int) -> Iterator[Trainer]:
    """Open a trainer.

    Args:
        threads: Number of threads that torch computes with.
    """
    with asyncio.Runner() as runner:
        executor = InProcessExecutor(threads, probe=PROBE)
        runner.run(executor.start())
        try:
            source = LiveSource(executor)
            yield Trainer(runner.get_loop(), executor, source, runner.run(source.identity()))
        finally:
            runner.run(executor.close())


@cache
def trainer_of_process() -> Trainer:
    """Return the trainer of this process, with one thread. It starts once, which takes a second.

    It is closed when the process ends, before Python waits for its threads. A forked process starts its own.
    """
    stack = ExitStack()
    opened = stack.enter_context(trainer(threads=1))
    Finalize(None, stack.close, exitpriority=1)
    return opened


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=trainer_of_process.cache_clear)  # its thread is not in the child
