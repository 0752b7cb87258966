"""The model: sessions think and call, and a server with its queue, workers, journal and network answers.

    think -> network -> event loop -> queue -> worker: epochs, one result each -> store of states -> journal -> reply

All threads of a server's process take turns, so one station of one place stands for them. What is not modelled: faults,
the cache, the time that a worker needs to prepare data, other programs, and the other direction of the network.
"""

import random
from collections import deque
from dataclasses import dataclass
from statistics import median

from simulation.constants import Constants
from simulation.deployment import Deployment, Workload
from simulation.events import Clock, Event, Process, Station

__all__ = ["Prediction", "simulate"]

MAX_BATCH = 256
"""Writes of a transaction; `database._MAX_BATCH`."""

STATE_THREADS = 8
"""Threads that store states; `states._THREADS`."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of a deployment under a workload.

    Attributes:
        calls_per_s: Calls that ended, a second.
        epochs_per_s: Epochs of these calls, a second.
        latency_s: Median duration of a call, in seconds. NaN if none ended.
        utilisation: Share of its capacity, from 0 to 1, that each part uses. The busiest server counts.
        memory_mb: Memory of a server's sessions, in MB.
    """

    calls_per_s: float
    epochs_per_s: float
    latency_s: float
    utilisation: dict[str, float]
    memory_mb: float

    @property
    def saturated(self) -> str:
        """The part that uses most of its capacity."""
        return max(self.utilisation, key=lambda name: self.utilisation[name])


def simulate(
    constants: Constants,
    deployment: Deployment,
    workload: Workload,
    *,
    seconds: float,
    warm_up_s: float = 0.0,
    seed: int = 0,
) -> Prediction:
    """Simulate a deployment.

    Args:
        constants: What things cost.
        deployment: The deployment.
        workload: The workload.
        seconds: Virtual time that counts.
        warm_up_s: Virtual time before it.
        seed: Seed of the pauses.
    """
    clock = Clock()
    cores = None if deployment.cores is None else Station(clock, deployment.cores)
    database = Station(clock, 1)
    servers = [
        _Server(clock, constants, deployment, workload, cores, database, _share(deployment.workers, deployment, number))
        for number in range(deployment.servers)
    ]
    for number in range(workload.sessions):
        clock.start(servers[number % len(servers)].play(random.Random(seed * 1_000_003 + number)))
    clock.run(warm_up_s)
    stations = [database, *([cores] if cores else []), *(one for server in servers for one in server.stations.values())]
    for station in stations:
        station.forget()
    for server in servers:
        server.latencies_s.clear()
    clock.run(warm_up_s + seconds)
    latencies = [latency for server in servers for latency in server.latencies_s]
    names = servers[0].stations
    used = {name: max(server.stations[name].utilisation for server in servers) for name in names}
    used |= {"database": database.utilisation} | ({"processors": cores.utilisation} if cores else {})
    per_server = -(-workload.sessions // deployment.servers)
    return Prediction(
        len(latencies) / seconds,
        len(latencies) * workload.epochs / seconds,
        median(latencies) if latencies else float("nan"),
        used,
        per_server * constants.server.session_kb / 1000,
    )


def _share(total: int, deployment: Deployment, number: int) -> int:
    """Workers of a server."""
    return total // deployment.servers + (number < total % deployment.servers)


class _Server:
    """A server with its workers.

    Attributes:
        stations: What may be saturated, by name.
        latencies_s: Durations of the calls that have ended.
    """

    def __init__(
        self,
        clock: Clock,
        constants: Constants,
        deployment: Deployment,
        workload: Workload,
        cores: Station | None,
        database: Station,
        workers: int,
    ) -> None:
        self._clock = clock
        self._constants = constants
        self._executor = constants.executors[deployment.executor]
        self._journal = constants.journals[deployment.journal]
        self._deployment = deployment
        self._workload = workload
        self._cores = cores
        self._database = database
        self._process = Station(clock, 1)
        self._workers = Station(clock, workers)
        self._threads = Station(clock, STATE_THREADS)
        self._writer = Station(clock, 1)
        self._network = Station(clock, 1)
        self._writes: deque[Event] = deque()
        self._is_writing = False
        self.latencies_s: list[float] = []
        self.stations = {
            "server process": self._process,
            "workers": self._workers,
            "journal's writer": self._writer,
            "network": self._network,
        }

    def play(self, chance: random.Random) -> Process:
        """A session: think, call, think."""
        workload, client_s = self._workload, self._constants.client_s
        while True:
            if workload.think_s:
                yield chance.expovariate(1 / workload.think_s)
            began_s = self._clock.now
            yield from self._compute(client_s)
            yield self._deployment.round_trip_s
            if workload.epochs:
                yield from self._train(workload.epochs)
            else:
                yield from self._hold(self._constants.server.light_call_s)
            self.latencies_s.append(self._clock.now - began_s)

    def _train(self, epochs: int) -> Process:
        """A call that trains."""
        server, state_mb = self._constants.server, self._workload.task.state_mb
        yield from self._hold(server.call_s / 2)
        left = epochs
        while left:
            left -= yield from self._run_job(left)
        yield self._threads.acquire()
        size_s = server.state_s_per_mb * state_mb
        yield from self._hold(server.state_s + size_s * server.held_share)
        yield from self._compute(size_s * (1 - server.held_share))
        self._threads.release()
        yield self._write()  # the state's row
        yield self._write()  # the call
        yield from self._hold(server.call_s / 2)

    def _run_job(self, epochs: int) -> "Process":
        """Run epochs on a worker, until another job waits. Returns how many have run."""
        yield from self._queue()
        yield from self._transfer(is_job=True)
        for done in range(1, epochs + 1):
            yield self._workload.task.epoch_s
            yield from self._compute(self._executor.worker_s + self._size_s(self._executor.worker_s_per_mb))
            if done == epochs or self._workers.waiting:
                break
            self._clock.start(self._deliver())  # the next epoch trains meanwhile
        yield from self._transfer()
        self._workers.release()
        yield from self._hold(self._constants.server.unit_s)
        return done

    def _queue(self) -> Process:
        """Wait for a worker. The first job that must wait wakes the supervisors of all that run."""
        held = self._workers.acquire()
        if self._workers.waiting == 1 and not held.has_happened:
            yield from self._hold(self._constants.server.wake_s * self._workers.places)
        yield held

    def _deliver(self) -> Process:
        yield from self._transfer()
        yield from self._hold(self._constants.server.unit_s)

    def _transfer(self, is_job: bool = False) -> Process:
        """A job on its way to a worker, or a result on its way back: both have a state."""
        if self._deployment.network_mb_per_s:
            yield from self._network.use(self._workload.task.state_mb / self._deployment.network_mb_per_s)
        if not is_job:
            yield self._executor.transport_s
            yield from self._compute(self._executor.native_s)
        base_s = 0.0 if is_job else self._executor.receive_s
        yield from self._hold(base_s + self._size_s(self._executor.receive_s_per_mb))

    def _write(self) -> Event:
        """Hand a write to the journal's writer. The event happens when it is on disk."""
        written = Event(self._clock)
        self._writes.append(written)
        if not self._is_writing:
            self._is_writing = True
            self._clock.start(self._commit())
        return written

    def _commit(self) -> Process:
        """Commit what waits, until nothing waits any more."""
        journal = self._journal
        yield self._writer.acquire()
        while self._writes:
            batch = [self._writes.popleft() for _ in range(min(len(self._writes), MAX_BATCH))]
            yield from self._hold(journal.transaction_s + len(batch) * journal.write_s)
            if journal.database_s:
                yield from self._database.use(len(batch) * journal.database_s)
            yield journal.commit_s
            for written in batch:
                written.happen()
        self._writer.release()
        self._is_writing = False

    def _size_s(self, seconds_per_mb: float) -> float:
        return seconds_per_mb * self._workload.task.state_mb

    def _hold(self, seconds: float) -> Process:
        """Compute in the server's process, where one thread at a time computes."""
        yield self._process.acquire()
        yield from self._compute(seconds)
        self._process.release()

    def _compute(self, seconds: float) -> Process:
        """Compute where nothing but the machine's processors is needed."""
        if self._cores is None:
            yield seconds
        else:
            yield from self._cores.use(seconds)
