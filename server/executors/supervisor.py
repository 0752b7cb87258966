"""Supervises one worker of the pool, in a thread of its own.

It keeps a warm worker ready, takes jobs from the queue, has them run, and replaces a worker that
ended. A job whose worker died is tried again: jobs are pure functions, so that costs time and nothing else.
"""

import logging
import threading
from collections.abc import Callable

from ml_trainer_env.server.executors.bell import Bell
from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.executors.identity import IdentityError
from ml_trainer_env.server.executors.job_queue import JobQueue, QueuedJob
from ml_trainer_env.server.executors.startup import StartupWatch
from ml_trainer_env.server.executors.worker_process import WorkerDiedError, WorkerProcess

__all__ = ["WorkerSupervisor"]

_LOG = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
"""So many workers may die of a job, or on their way to becoming warm, before jobs fail."""

PAUSE_S = 0.25
"""Between two attempts to start a worker; doubles with each of the first failures in a row, up to 8 s."""

_MAX_DOUBLINGS = 5

IDENTITY_PAUSE_S = 300.0
"""After some starts in a row of workers of another identity, in seconds: the next one will hardly differ from them."""

WARN_EVERY_S = 60.0
"""How often the log is told of a worker that is still starting."""

IDLE_LOOK_EVERY_S = 1.0
"""How often an idle worker is looked at, lest it has died."""


class WorkerSupervisor:
    """A worker and its thread.

    Args:
        queue: Where jobs come from. The thread ends when it is closed.
        start_worker: Starts a process; may raise OSError.
        on_no_worker: Called with the reason, from the thread, each time the worker could not be
            started the third time in a row or more.

    Attributes:
        ready: Whether the worker is warm.
        trouble: Why it is not, in words, after a start that failed or takes long.
        deaths: Workers lost so far.
    """

    def __init__(
        self,
        queue: JobQueue,
        start_worker: Callable[[], WorkerProcess],
        on_no_worker: Callable[[ExecutorError], None],
    ) -> None:
        self._queue = queue
        self._start_worker = start_worker
        self._on_no_worker = on_no_worker
        self._worker: WorkerProcess | None = None
        self._failed_starts = 0
        self.ready = False
        self.trouble: str | None = None
        self.deaths = 0
        self.thread = threading.Thread(target=self._serve, name="worker-supervisor", daemon=True)

    @property
    def pid(self) -> int | None:
        """The worker's process id, if it is up."""
        worker = self._worker
        return worker.pid if worker else None

    def kill_worker(self) -> None:
        """End the worker, from any thread, so that nothing waits for it any longer."""
        worker = self._worker
        if worker is not None:
            worker.kill()

    def _serve(self) -> None:
        try:
            with Bell() as bell:
                self._queue.bells.append(bell.ring)
                while not self._queue.closed.is_set():
                    worker = self._warm_worker()
                    queued = self._queue.take(IDLE_LOOK_EVERY_S) if worker else None
                    if worker and queued:
                        self._run(queued, worker, bell)
                self._queue.bells.remove(bell.ring)
        finally:
            self._drop_worker("its supervisor has ended")

    def _run(self, queued: QueuedJob, worker: WorkerProcess, bell: Bell) -> None:
        queued.attempts += 1
        try:
            worker.run(queued, bell, lambda: self._queue.is_crowded)
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

    def _warm_worker(self) -> WorkerProcess | None:
        """The worker, warm, or none after a failure and a pause."""
        if self._worker is not None and not self._worker.is_alive:
            self._drop_worker("it died while idle")
        if self._worker is None:
            try:
                self._start()
            except Exception as error:  # the thread's boundary: whatever it is, others may be luckier later
                self._note_failed_start(error)
        return self._worker

    def _start(self) -> None:
        self._worker = self._start_worker()
        if self._queue.closed.is_set():
            self._worker.kill()  # whoever closed may have come too early to see it
        warned_at_s = 0.0

        def note(watch: StartupWatch) -> None:
            nonlocal warned_at_s
            if watch.elapsed_s >= warned_at_s + WARN_EVERY_S:
                warned_at_s, self.trouble = watch.elapsed_s, watch.told()
                _LOG.warning("%s", self.trouble)

        self._queue.serve(self._worker.wait_ready(note))
        self._failed_starts, self.ready, self.trouble = 0, True, None

    def _note_failed_start(self, error: Exception) -> None:
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
        self.ready = False
        worker, self._worker = self._worker, None
        if worker is None:
            return
        worker.close()
        if not self._queue.closed.is_set():
            self.deaths += 1
            _LOG.warning("replacing a worker: %s", reason)
