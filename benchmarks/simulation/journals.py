"""What the journal costs, on SQLite and on PostgreSQL: a write, a transaction, and calls a second of servers.

A call is recorded as the server records one of five epochs: the row of its state, then the call with its epochs.
Servers are processes; `python -m simulation.journals PLACE NAME SESSIONS SECONDS` is one. PostgreSQL flushes its log.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml_trainer_env.server.store import Database, EpisodeHeader, Journal, Ownership, RecordedUnit, UnitFigures
from ml_trainer_env.server.store.records import CallRecord
from ml_trainer_env.server.store.state_rows import record_state
from ml_trainer_env.server.trainer.metrics import EpochMetrics
from simulation.constants import JournalConstants

__all__ = ["calls_per_s", "journal_constants", "places"]

FIGURES = EpochMetrics(0.5123, 0.8123, 0.6123, 0.7512, 0.001, False, 2.3123, 1.0123, 0.0012, 0.0).to_figures()
EPOCHS = 5
REPLY_ROWS = 5
SAMPLES = 150
BATCH = 64


@contextmanager
def places() -> Iterator[dict[str, Path | str]]:
    """The places of the journals by name: a file, and a database of a PostgreSQL server that runs meanwhile."""
    from postgresql_server import postgresql_server  # a test double, whose folder `waiting_server` adds

    with tempfile.TemporaryDirectory(prefix="journal-") as folder, postgresql_server(is_durable=True) as server:
        yield {"sqlite": Path(folder) / "journal.sqlite3", "postgresql": server.new_database()}


def journal_constants(place: Path | str) -> JournalConstants:
    """Measure transactions of one write, and of many: their difference is what a write costs."""
    database = Database(place)
    try:
        return asyncio.run(_constants(database, is_shared=isinstance(place, str)))
    finally:
        database.close()


async def _constants(database: Database, is_shared: bool) -> JournalConstants:
    episode = await _Episode.begin(database, "constants")
    for _ in range(20):
        await episode.write()
    alone = [await _timed(episode, 1) for _ in range(SAMPLES)]
    together = [await _timed(episode, BATCH) for _ in range(SAMPLES // 10)]
    (one_cpu, one_wall), (many_cpu, many_wall) = _means(alone), _means(together)
    write_s = (many_cpu - one_cpu) / (BATCH - 1)
    wait_s = ((many_wall - many_cpu) - (one_wall - one_cpu)) / (BATCH - 1)
    database_s = max(0.0, wait_s) if is_shared else 0.0
    return JournalConstants(write_s, one_cpu - write_s, max(0.0, one_wall - one_cpu - database_s), database_s)


def _means(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    return sum(cpu for cpu, _ in pairs) / len(pairs), sum(wall for _, wall in pairs) / len(pairs)


async def _timed(episode: "_Episode", writes: int) -> tuple[float, float]:
    """Processor time of the writer's thread, and wall time, of a transaction of some writes."""
    threads = {thread.name: thread for thread in threading.enumerate()}
    clock = time.pthread_getcpuclockid(threads["journal-writer"].ident or 0)
    cpu, began = time.clock_gettime(clock), time.perf_counter()
    await asyncio.gather(*(episode.write(number) for number in range(writes)))
    return time.clock_gettime(clock) - cpu, time.perf_counter() - began


class _Episode:
    """An episode whose calls are recorded. Every other write is the row of a state."""

    def __init__(self, database: Database, ownership: Ownership, name: str) -> None:
        self._database = database
        self._journal = Journal(database)
        self._ownership = ownership
        self._name = name
        self._written = 0

    @classmethod
    async def begin(cls, database: Database, name: str) -> "_Episode":
        header = EpisodeHeader(name, "easy_mnist", 1, "v1", "", {}, 3)
        return cls(database, await Journal(database).begin(header), name)

    async def write(self, number: int = 1) -> None:
        """Record a call, or the row of a state, by turns."""
        self._written += 1
        key = f"{self._name}-{self._written}"
        if number % 2:
            await self._database.write(lambda connection: record_state(connection, key, 1_000_000, "0" * 64))
        else:
            await self._journal.append(self._ownership, _call(key), [key])

    async def call(self) -> None:
        """Write all that a call writes."""
        await self.write(1)
        await self.write(2)


def _call(key: str) -> CallRecord:
    rows = [{**FIGURES, "epoch": number} for number in range(REPLY_ROWS)]
    units = tuple(
        RecordedUnit(UnitFigures(f"{key}-{number}", FIGURES, "0" * 64, 0.1), False, "0" * 64)
        for number in range(EPOCHS)
    )
    return CallRecord("run_epochs", {"num_epochs": EPOCHS}, {"epochs": rows, "reward": 0.1, "done": False}, units=units)


def calls_per_s(place: Path | str, servers: int, sessions: int, seconds: float, prefix: str) -> list[float]:
    """Calls a second that each of some servers records at the same time, each for some sessions that never pause.

    Args:
        place: The journal.
        servers: Number of servers.
        sessions: Number of sessions of each.
        seconds: Length of the measurement.
        prefix: Beginning of the episodes' names, which no other measurement in this journal has.
    """
    names = [f"{prefix}-{servers}-{number}" for number in range(servers)]
    program = [sys.executable, "-m", "simulation.journals"]
    commands = [[*program, str(place), name, str(sessions), str(seconds)] for name in names]
    here = str(Path(__file__).resolve().parents[1])
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, cwd=here, text=True)
        for command in commands
    ]
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()  # it is ready
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [float(json.loads(process.communicate()[0])) for process in running]


async def _serve(database: Database, name: str, sessions: int, seconds: float) -> float:
    episodes = [await _Episode.begin(database, f"{name}-{number}") for number in range(sessions)]
    for episode in episodes:
        await episode.call()
    print("ready", flush=True)
    sys.stdin.readline()
    ends_at, count = time.perf_counter() + seconds, 0

    async def call_on(episode: _Episode) -> None:
        nonlocal count
        while time.perf_counter() < ends_at:
            await episode.call()
            count += 1

    began = time.perf_counter()
    await asyncio.gather(*map(call_on, episodes))
    return count / (time.perf_counter() - began)


def main() -> None:
    place, name, sessions, seconds = sys.argv[1:]
    database = Database(place if place.startswith("postgresql") else Path(place))
    try:
        print(json.dumps(asyncio.run(_serve(database, name, int(sessions), float(seconds)))))
    finally:
        database.close()


if __name__ == "__main__":
    main()
