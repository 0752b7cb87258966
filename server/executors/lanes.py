"""The lanes of an executor whose workers have several identities: a queue for each, and the workers that take from it.

Results of one identity are never continued with the bits of another. So jobs that continue each other stay in one lane,
and machines of several kinds can serve one server.
"""

import logging
import threading
from collections import Counter
from collections.abc import Iterator

from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.executors.job_queue import JobQueue

__all__ = ["Lanes"]

_LOG = logging.getLogger(__name__)


class Lanes:
    """The queues of an executor by identity. Any thread may use it.

    Args:
        first: The queue of the first identity, whichever that becomes.
        is_mixed: Whether a worker with another identity gets a lane of its own. Otherwise it is refused.

    Attributes:
        is_mixed: The same.
    """

    def __init__(self, first: JobQueue, is_mixed: bool) -> None:
        self.is_mixed = is_mixed
        self._changing = threading.Lock()
        self._queues = [first]
        self._workers: dict[JobQueue, int] = {}
        self._chosen: Counter[JobQueue] = Counter()

    def __iter__(self) -> Iterator[JobQueue]:
        """Yield all queues, the first one first."""
        return iter(tuple(self._queues))

    def join(self, identity: Identity) -> JobQueue:
        """Add a worker that is ready. Returns the queue from which it takes jobs.

        Raises:
            IdentityError: It has another identity than the workers before it, and the executor is not mixed.
        """
        with self._changing:
            queue = self._find(identity)
            queue.register_worker(identity)
            return queue

    def find(self, key: str) -> JobQueue | None:
        """Return the queue of an identity. None if no worker has had it."""
        return next((queue for queue in self if queue.identity_key == key), None)

    def choose(self) -> JobQueue:
        """Return a queue for new jobs: the one that was chosen least often for each of its workers.

        Choices count anew when workers have come or gone, so that a lane that was absent does not catch up.
        """
        with self._changing:
            workers = {queue: queue.workers for queue in self._queues}
            if workers != self._workers:
                self._workers, self._chosen = workers, Counter()
            served = [queue for queue, count in workers.items() if count] or self._queues[:1]
            chosen = min(served, key=lambda queue: self._chosen[queue] / max(1, workers[queue]))
            self._chosen[chosen] += 1
            return chosen

    def _find(self, identity: Identity) -> JobQueue:
        first = self._queues[0]
        if not self.is_mixed or first.identity_key is None:
            return first
        if (known := self.find(identity.key)) is not None:
            return known
        differing = "; ".join(identity.differences(first.identity_facts))
        _LOG.warning("a worker has another identity than those before it, and has a queue of its own: %s", differing)
        added = JobQueue(first.closed)
        self._queues.append(added)
        return added
