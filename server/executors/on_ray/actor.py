"""The worker as a Ray actor: what runs on a node of the cluster.

The package must be installed on each node, in the same version. Nothing is sent but settings, jobs and results.
"""

import os
import threading
import traceback
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any, NamedTuple

import ray

from ml_trainer_env.server.executors.bounded_map import BoundedMap
from ml_trainer_env.server.executors.channel import KEPT_BYTES
from ml_trainer_env.server.executors.job import Part
from ml_trainer_env.server.executors.on_ray.frames import LAST_STATE, decode, encode, part_name, returned_state
from ml_trainer_env.server.executors.process_limits import lower_priority
from ml_trainer_env.server.executors.worker_process import WorkerSettings
from ml_trainer_env.server.trainer.arrays import State

__all__ = ["CONCURRENCY_GROUPS", "Place", "TrainerActor"]

CONCURRENCY_GROUPS = {"inbox": 1, "outbox": 1}
"""Threads for calls: one takes messages, one waits for answers. A third thread, which Ray does not know, trains."""


class Place(NamedTuple):
    """Where an actor runs.

    Attributes:
        node: Id of its node (hex).
        address: Address of the node.
        pid: Its process id there.
    """

    node: str
    address: str
    pid: int


class TrainerActor:
    """A worker at the other end of calls: `put` brings a message, `get` waits for the next answer.

    Args:
        settings: Settings of the worker.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._link = _ActorLink()
        threading.Thread(target=self._work, args=(settings,), name="trainer", daemon=True).start()

    @ray.method(concurrency_group="inbox")
    def place(self) -> Place:
        """Return where the actor runs."""
        node = ray.get_runtime_context().get_node_id()
        return Place(node, ray.util.get_node_ip_address(), os.getpid())

    @ray.method(concurrency_group="inbox")
    def put(self, frame: bytes, parts: Mapping[str, Any]) -> None:
        """Take a message.

        Args:
            frame: The message, encoded.
            parts: References of the parts of data that the message names, by key.
        """
        self._link.take(frame, parts)

    @ray.method(concurrency_group="outbox")
    def get(self) -> bytes:
        """Wait for the next message of the worker, and return it encoded.

        Raises:
            RuntimeError: The worker has ended. The message has the traceback.
        """
        answer = self._link.outbox.get()
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer

    def _work(self, settings: WorkerSettings) -> None:
        try:
            lower_priority()
            os.environ["OMP_WAIT_POLICY"] = "passive"  # OpenMP reads it when torch is imported; see `worker_process`
            # A late import: torch must see the variable. And an actor answers before torch is there.
            from ml_trainer_env.server.executors.worker import work

            work(self._link, settings)
        except Exception:  # the thread's boundary: whoever waits for an answer receives it
            self._link.outbox.put(traceback.format_exc())


class _ActorLink:
    """The worker's end: its messages go into queues, from which Ray's threads take them."""

    def __init__(self) -> None:
        self.outbox: SimpleQueue[bytes | str] = SimpleQueue()
        """Encoded messages, or the text of the error that ended the worker."""
        self._inbox: SimpleQueue[Any] = SimpleQueue()
        self._parts: BoundedMap[Part] = BoundedMap(KEPT_BYTES)
        self._state: State | None = None

    def take(self, frame: bytes, parts: Mapping[str, Any]) -> None:
        """Decode a message for `receive`. Parts that are not here yet are fetched from the cluster's object store."""
        values: dict[str, object] = {part_name(key): self._part(key, parts[key]) for key in parts}
        values[LAST_STATE] = self._state
        self._inbox.put(decode(frame, values.__getitem__))

    def send(self, message: object) -> None:
        self._state = returned_state(message) or self._state
        self.outbox.put(encode(message, {}))

    def receive(self) -> Any:
        return self._inbox.get()

    def has_message(self, timeout_s: float = 0.0) -> bool:
        return not self._inbox.empty()

    def _part(self, key: str, reference: Any) -> Part:
        if key not in self._parts:
            part: Part = ray.get(reference)
            self._parts.keep(key, part, part.nbytes)
        return self._parts[key]
