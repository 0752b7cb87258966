"""The default executor: a pool of worker processes that share one queue of epochs, first come first served.

A thread looks after each worker: it takes a job from the queue, has it done, and replaces a worker
that died or was killed for running over its time. Results go back through futures, so any event
loop may wait for them.
"""

import asyncio
import logging
import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field

from ml_trainer_env.server.executors.contract import (
    EpochJob,
    EpochResult,
    ExecutorError,
    HeldOutJob,
    Job,
)
from ml_trainer_env.server.executors.worker_process import WorkerProcess

__all__ = ["ProcessPoolExecutor"]

_LOG = logging.getLogger(__name__)

_READY_TIMEOUT_S = 120.0
"""Importing torch takes seconds, and longer on a machine that is busy."""


@dataclass(slots=True)
class _Ticket:
    """A job in the queue."""

    job: Job
    timeout_s: float
    future: Future[EpochResult | float] = field(default_factory=Future)


class ProcessPoolExecutor:
    """Keeps the executor contract with worker processes that can be killed.

    Args:
        workers: How many worker processes, at least 1.
        torch_threads: How many threads each one's torch computes with.
    """

    def __init__(self, workers: int = 1, torch_threads: int = 2) -> None:
        self._torch_threads = torch_threads
        self._queue: queue.SimpleQueue[_Ticket | None] = queue.SimpleQueue()
        self._keepers = [_Keeper(self._queue, torch_threads) for _ in range(workers)]
        self._closed = False

    @property
    def worker_pids(self) -> list[int]:
        """Process ids of the workers that are up."""
        return [pid for keeper in self._keepers if (pid := keeper.pid) is not None]

    async def start(self) -> None:
        """Begin to start the workers."""
        for keeper in self._keepers:
            keeper.thread.start()

    async def run_epoch(self, job: EpochJob, timeout_s: float) -> EpochResult:
        """Train for one epoch."""
        result = await self._run(job, timeout_s)
        assert isinstance(result, EpochResult)
        return result

    async def held_out_accuracy(self, job: HeldOutJob, timeout_s: float) -> float:
        """Share of the held-out images classified right."""
        result = await self._run(job, timeout_s)
        assert isinstance(result, float)
        return result

    async def close(self) -> None:
        """Kill the workers and wait for the threads that look after them."""
        if self._closed:
            return
        self._closed = True
        for keeper in self._keepers:
            keeper.stop()
            self._queue.put(None)
        for keeper in self._keepers:
            if keeper.thread.is_alive():
                await asyncio.to_thread(keeper.thread.join)
        while not self._queue.empty():
            ticket = self._queue.get()
            if ticket is not None and ticket.future.set_running_or_notify_cancel():
                ticket.future.set_exception(ExecutorError("the executor is closed"))

    async def _run(self, job: Job, timeout_s: float) -> EpochResult | float:
        if self._closed:
            raise ExecutorError("the executor is closed")
        ticket = _Ticket(job, timeout_s)
        self._queue.put(ticket)
        return await asyncio.wrap_future(ticket.future)


class _Keeper:
    """Looks after one worker, in a thread of its own."""

    def __init__(self, tickets: "queue.SimpleQueue[_Ticket | None]", torch_threads: int) -> None:
        self._tickets = tickets
        self._torch_threads = torch_threads
        self._worker: WorkerProcess | None = None
        self._stopping = threading.Event()
        self.thread = threading.Thread(target=self._serve, name="worker-keeper", daemon=True)

    @property
    def pid(self) -> int | None:
        """The worker's process id, if it is up."""
        worker = self._worker
        return worker.pid if worker else None

    def stop(self) -> None:
        """Have the thread end: kills what it may be waiting for."""
        self._stopping.set()
        if self._worker is not None:
            self._worker.kill()

    def _serve(self) -> None:
        try:
            while not self._stopping.is_set():
                self._ensure_worker()
                ticket = self._tickets.get()
                if ticket is None:
                    break
                if ticket.future.set_running_or_notify_cancel():
                    self._do(ticket)
        finally:
            self._drop_worker()

    def _do(self, ticket: _Ticket) -> None:
        try:
            worker = self._ensure_worker()
            worker.wait_ready(_READY_TIMEOUT_S)
            result = worker.ask(ticket.job, ticket.timeout_s)
        except ExecutorError as error:
            _LOG.warning("replacing a worker: %s", error)
            self._drop_worker()
            ticket.future.set_exception(error)
        except Exception as error:  # the thread's boundary: whoever waits for the job hears of it
            ticket.future.set_exception(error)
        else:
            ticket.future.set_result(result)

    def _ensure_worker(self) -> WorkerProcess:
        if self._worker is not None and not self._worker.is_alive:
            _LOG.warning("replacing a worker that died while idle")
            self._drop_worker()
        if self._worker is None:
            self._worker = WorkerProcess(self._torch_threads)
        return self._worker

    def _drop_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()
