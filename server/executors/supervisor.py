"""Supervises one worker of an executor, in a thread of its own.

It keeps a worker warm, gives it jobs from the queue, and replaces it when it has ended. A job whose worker died is
tried again. Jobs are pure functions, so a second try costs only time.
"""

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.executors.identity import Identity, IdentityError
from ml_trainer_env.server.executors.job_queue import JobQueue, QueuedJob
from ml_trainer_env.server.executors.wakeup import Wakeup
from ml_trainer_env.server.executors.worker_contract import StartupProgress, Worker, WorkerDiedError

__all__ = ["WorkerSupervisor"]

_LOG = logging.getLogger(__name__)

AnyWorker = TypeVar("AnyWorker", bound=Worker)

MAX_ATTEMPTS = 3
"""A job fails after this many workers died of it. Queued jobs fail after this many failed starts in a row."""

PAUSE_S = 0.25
"""Pause between two attempts to start a worker, in seconds. It doubles with each failure in a row, up to 8 s."""

_MAX_DOUBLINGS = 5

IDENTITY_PAUSE_S = 300.0
"""Pause after several starts in a row of workers with another identity, in seconds."""

WARNING_INTERVAL_S = 60.0
"""Seconds between two warnings in the log about a worker that is still starting."""

IDLE_CHECK_INTERVAL_S = 1.0
"""Seconds between two checks whether an idle worker has died."""


class WorkerSupervisor(Generic[AnyWorker]):
    """A worker and the thread that supervises it.

    Args:
        queue: The queue of jobs until a worker is ready. The thread ends when the queue is closed.
        join: Called with the identity of a worker that is ready. Returns the queue of its lane.
        start_worker: Starts a worker. An exception is a failed start.
        on_no_worker: Called from the thread with the reason after each failed start in a row from the third on.

    Attributes:
        worker: The worker. None if there is none.
        ready: Whether the worker is warm.
        trouble: Why a start failed or takes long, as text. None if neither is so.
        deaths: Number of workers lost so far.
    """

    def __init__(
        self,
        queue: JobQueue,
        join: Callable[[Identity], JobQueue],
        start_worker: Callable[[], AnyWorker],
        on_no_worker: Callable[[ExecutorError], None],
    ) -> None:
        self._queue = queue
        self._join = join
        self._start_worker = start_worker
        self._on_no_worker = on_no_worker
        self.worker: AnyWorker | None = None
        self._failed_starts = 0
        self.ready = False
        self.trouble: str | None = None
        self.deaths = 0
        self.thread = threading.Thread(target=self._serve, name="worker-supervisor", daemon=True)

    def kill_worker(self) -> None:
        """Kill the worker, so that the thread stops waiting for it. May be called from any thread."""
        worker = self.worker
        if worker is not None:
            worker.kill()

    def _serve(self) -> None:
        try:
            with Wakeup() as wakeup:
                while not self._queue.closed.is_set():
                    worker = self._ensure_worker()
                    if worker is not None:
                        self._serve_one(worker, wakeup)
        finally:
            self._drop_worker("its supervisor has ended")

    def _serve_one(self, worker: Worker, wakeup: Wakeup) -> None:
        """Wait for a job for a while, and run it."""
        queue = self._queue
        queue.wakeups.append(wakeup.set)
        try:
            if (queued := queue.take(IDLE_CHECK_INTERVAL_S)) is not None:
                self._run(queued, worker, wakeup)
        finally:
            queue.wakeups.remove(wakeup.set)

    def _run(self, queued: QueuedJob, worker: Worker, wakeup: Wakeup) -> None:
        queued.attempts += 1
        try:
            worker.run(queued, wakeup, lambda: self._queue.is_crowded)
        except Exception as error:  # the thread's boundary: the caller of the job receives it
            if not worker.is_alive:
                self._drop_worker(str(error))
            if not isinstance(error, WorkerDiedError):
                self._queue.fail(queued, error)
            elif queued.attempts < MAX_ATTEMPTS:
                self._queue.put_back(queued)
            else:
                self._queue.fail(queued, ExecutorError(f"{MAX_ATTEMPTS} workers in a row died of it: {error}"))
        else:
            self._queue.finish(queued)

    def _ensure_worker(self) -> AnyWorker | None:
        """Return the warm worker; start it if necessary. Returns None after a failure and a pause."""
        if self.worker is not None and not self.worker.is_alive:
            self._drop_worker("it died while idle")
        if self.worker is None:
            try:
                self._start()
            except Exception as error:  # the thread's boundary: a later start may succeed
                self._record_failed_start(error)
        return self.worker

    def _start(self) -> None:
        self.worker = self._start_worker()
        if self._queue.closed.is_set():
            self.worker.kill()  # `kill_worker` may have been called before the worker was set
        warned_at_s = 0.0

        def warn(progress: StartupProgress) -> None:
            nonlocal warned_at_s
            if progress.elapsed_s >= warned_at_s + WARNING_INTERVAL_S:
                warned_at_s, self.trouble = progress.elapsed_s, progress.describe()
                _LOG.warning("%s", self.trouble)

        self._queue = self._join(self.worker.wait_ready(warn))
        self._failed_starts, self.ready, self.trouble = 0, True, None

    def _record_failed_start(self, error: Exception) -> None:
        self._drop_worker(str(error))
        self._failed_starts += 1
        self.trouble = f"no worker can be started: {error}"
        if self._failed_starts >= MAX_ATTEMPTS:
            self._on_no_worker(ExecutorError(self.trouble))
        pause_s = PAUSE_S * 2 ** min(self._failed_starts, _MAX_DOUBLINGS)
        if isinstance(error, IdentityError) and self._failed_starts >= MAX_ATTEMPTS:
            pause_s = IDENTITY_PAUSE_S
        self._queue.closed.wait(pause_s)

    def _drop_worker(self, reason: str) -> None:
        if self.ready:
            self._queue.unregister_worker()
        self.ready = False
        worker, self.worker = self.worker, None
        if worker is None:
            return
        worker.close()
        if not self._queue.closed.is_set():
            self.deaths += 1
            _LOG.warning("replacing a worker: %s", reason)
