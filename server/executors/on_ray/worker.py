"""One Ray actor, as the executor uses it: start it, give it jobs, kill it. Its methods block."""

import concurrent.futures
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import ray
from ray.exceptions import RayError

from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.executors.conversation import ConversingWorker
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.on_ray.actor import CONCURRENCY_GROUPS, Place, TrainerActor
from ml_trainer_env.server.executors.on_ray.cluster import RayCluster
from ml_trainer_env.server.executors.on_ray.frames import LAST_STATE, decode, encode, part_name, returned_state
from ml_trainer_env.server.executors.startup import CLOCK_LIMIT_S
from ml_trainer_env.server.executors.wakeup import Wakeup
from ml_trainer_env.server.executors.wire import Request
from ml_trainer_env.server.executors.worker_contract import StartupProgress, WorkerDiedError
from ml_trainer_env.server.executors.worker_process import WorkerSettings
from ml_trainer_env.server.trainer.arrays import State

__all__ = ["RayWorker"]

START_CHECK_INTERVAL_S = 1.0
"""Seconds between two checks of a starting worker."""

_CUDA = "cuda"

KILL_TIMEOUT_S = 10.0
"""Seconds to wait until Ray says that a killed actor has ended."""


class RayWorker(ConversingWorker):
    """A warm actor. Ray places it on a node with enough free processors, as soon as there is one.

    Args:
        cluster: The cluster. It is connected if it is not.
        settings: Settings of the worker.

    Raises:
        ExecutorError: The cluster cannot be joined.
    """

    def __init__(self, cluster: RayCluster, settings: WorkerSettings) -> None:
        cluster.connect()
        gpus = int(settings.options.get("device") == _CUDA)
        kind = ray.remote(
            num_cpus=settings.torch_threads,
            num_gpus=gpus,  # without one of its own an actor sees no GPU
            max_restarts=0,
            concurrency_groups=CONCURRENCY_GROUPS,
        )
        self._actor = kind(TrainerActor).remote(settings)
        self._placed: Future[Place] = self._actor.place.remote().future()
        self._calls = _CallLink(self._actor, cluster)
        self._killed = False
        self._needs = f"{settings.torch_threads} free processors" + (" and a free GPU" if gpus else "")
        super().__init__(self._calls, settings.memory_mb)

    @property
    def place(self) -> Place | None:
        """Where the actor runs. None while it has no place."""
        return self._placed.result() if self._placed.done() and self._placed.exception() is None else None

    @property
    def is_alive(self) -> bool:
        """Whether the actor was not killed and has not died."""
        return not self._killed and not self._calls.is_broken

    def wait_ready(self, on_wait: Callable[[StartupProgress], None] = lambda _: None) -> Identity:
        """Wait until the worker is warm; see `Worker`. The time until it has a place has no limit."""
        start = _RayStart(self._needs)
        with self._killed_on_error():
            while not self._calls.has_message(START_CHECK_INTERVAL_S):
                start.look(self.place)
                if start.placed_s > CLOCK_LIMIT_S:
                    raise ExecutorError(f"a worker was not ready within {CLOCK_LIMIT_S:g} s")
                on_wait(start)
            return self._receive_ready()

    def kill(self) -> None:
        """Kill the actor and wait for its end. May be called twice, and from any thread."""
        self._killed = True
        with contextlib.suppress(RayError, RuntimeError):  # it is dead already, or the connection has ended
            ray.kill(self._actor, no_restart=True)
        self._calls.wait_broken(KILL_TIMEOUT_S)

    def close(self) -> None:
        """Kill the actor and forget it."""
        self.kill()
        self._calls.close()

    def _died_error(self) -> WorkerDiedError:
        reason = self._calls.reason
        self.kill()
        return WorkerDiedError(f"the worker on Ray died: {reason}")


class _CallLink:
    """The executor's end: each message is a call of the actor, and one call always waits for the next answer.

    That call fails when the actor dies, for whatever reason and even while it is idle.
    """

    def __init__(self, actor: Any, cluster: RayCluster) -> None:
        self._actor = actor
        self._cluster = cluster
        self._answered = Wakeup()
        self._state: State | None = None
        self._answer = self._ask()

    @property
    def is_broken(self) -> bool:
        """Whether the actor has died."""
        return self._answer.done() and self._answer.exception() is not None

    @property
    def reason(self) -> str:
        """Why the actor has died."""
        error = self._answer.exception() if self._answer.done() else None
        return " ".join(str(error or "it does not answer").split())[:500]

    def send(self, message: object) -> None:
        if isinstance(message, Request):
            parts = {part.key: part for part in message.job.data.parts}
            names = {id(part): part_name(key) for key, part in parts.items()}
            if self._state is not None and message.job.state is self._state:
                names[id(self._state)] = LAST_STATE
            references = {key: self._cluster.reference(part) for key, part in parts.items()}
            self._call(encode(message, names), references)
        else:
            self._call(encode(message, {}), {})

    def receive(self) -> Any:
        try:
            frame = self._answer.result()
        except RayError:
            raise EOFError from None
        self._answered.clear()
        self._answer = self._ask()
        message = decode(frame, _no_value)
        self._state = returned_state(message) or self._state
        return message

    def has_message(self, timeout_s: float = 0.0) -> bool:
        return bool(concurrent.futures.wait([self._answer], timeout_s).done)

    def fileno(self) -> int:
        return self._answered.fileno()

    def wait_broken(self, timeout_s: float) -> None:
        """Wait until Ray says that the actor is dead."""
        deadline = time.monotonic() + timeout_s
        while not self.is_broken and (left_s := deadline - time.monotonic()) > 0:
            answer = self._answer
            if concurrent.futures.wait([answer], left_s).done and answer.exception() is None:
                return  # an answer came just before; the actor is dead all the same

    def close(self) -> None:
        self._answered.close()

    def _call(self, frame: bytes, references: dict[str, Any]) -> None:
        try:
            self._actor.put.remote(frame, references)
        except RayError:
            raise EOFError from None

    def _ask(self) -> "Future[bytes]":
        answer: Future[bytes] = self._actor.get.remote().future()
        answer.add_done_callback(lambda _: self._answered.set())
        return answer


def _no_value(name: str) -> object:
    raise KeyError(name)  # a worker sends all values


class _RayStart:
    """How far the start of an actor is.

    Attributes:
        placed_s: Seconds since the actor has a place. 0 while it has none.
    """

    def __init__(self, needs: str) -> None:
        self._needs = needs
        self._began_at = time.monotonic()
        self._placed_at: float | None = None
        self._place: Place | None = None
        self.placed_s = 0.0

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began_at

    def look(self, place: Place | None) -> None:
        """Take note of the actor's place."""
        self._place = place
        if place is not None:
            self._placed_at = self._placed_at or time.monotonic()
            self.placed_s = time.monotonic() - self._placed_at

    def describe(self) -> str:
        if self._place is None:
            waited = f"a worker has been waiting for {self.elapsed_s:.0f} s"
            return f"{waited} for a node of the Ray cluster with {self._needs}"
        return f"a worker has been starting for {self.placed_s:.0f} s on the node {self._place.address}"
