"""The constants of the model: what a call costs, and where. `calibrate` measures them into `constants.json`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

__all__ = ["CONSTANTS_FILE", "Constants", "ExecutorConstants", "JournalConstants", "ServerConstants"]

CONSTANTS_FILE = Path(__file__).with_name("constants.json")


@dataclass(frozen=True)
class ServerConstants:
    """Processor time of the server's process, in seconds. Its threads take turns, as one interpreter lock demands.

    Attributes:
        call_s: A call, on the event loop.
        unit_s: An epoch, on the event loop.
        state_s: Storing a state, in a thread: what does not depend on its size.
        state_s_per_mb: Storing a state, in a thread: packing, hashing and writing a megabyte.
        held_share: Share of `state_s_per_mb` for which the thread holds the interpreter lock.
        wake_s: Waking the supervisor of a running worker when a job is queued.
        light_call_s: A call that only reads, from its socket to its answer.
        session_kb: Memory of a session, in kB.
    """

    call_s: float
    unit_s: float
    state_s: float
    state_s_per_mb: float
    held_share: float
    wake_s: float
    light_call_s: float
    session_kb: float


@dataclass(frozen=True)
class JournalConstants:
    """What a transaction costs. The writer commits all waiting writes together.

    Attributes:
        write_s: A write: processor time of the writer's thread.
        transaction_s: A transaction of any number of writes: processor time of the writer's thread.
        commit_s: Time of a transaction in which the writer waits for the disk or the database.
        database_s: Time that a write takes in a database which several servers share. 0 for a file.
    """

    write_s: float
    transaction_s: float
    commit_s: float
    database_s: float


@dataclass(frozen=True)
class ExecutorConstants:
    """What an epoch costs beside its training, in one executor.

    Attributes:
        receive_s: Processor time of the server for the result of an epoch, whatever its size.
        receive_s_per_mb: The same for each megabyte of its state.
        native_s: Processor time of the server's threads that do not hold the interpreter lock, for an epoch: Ray's own.
        worker_s: Processor time on the worker's machine for an epoch, whatever its size.
        worker_s_per_mb: The same for each megabyte: hashing and sending.
        transport_s: Time from a worker's result to the server, in which no processor works for it.
    """

    receive_s: float
    receive_s_per_mb: float
    native_s: float
    worker_s: float
    worker_s_per_mb: float
    transport_s: float


@dataclass(frozen=True)
class Constants:
    """All constants.

    Attributes:
        circumstances: Machine, load, versions and commit.
        server: The server.
        journals: The journals, by name: "sqlite", "postgresql".
        executors: The executors, by name: "pool", "ray".
        client_s: Processor time of a light client for a call, in seconds.
    """

    circumstances: str
    server: ServerConstants
    journals: dict[str, JournalConstants]
    executors: dict[str, ExecutorConstants]
    client_s: float

    @classmethod
    def load(cls, path: Path = CONSTANTS_FILE) -> Self:
        """Read the constants that `save` wrote."""
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            read["circumstances"],
            ServerConstants(**read["server"]),
            {name: JournalConstants(**journal) for name, journal in read["journals"].items()},
            {name: ExecutorConstants(**executor) for name, executor in read["executors"].items()},
            read["client_s"],
        )

    def save(self, path: Path = CONSTANTS_FILE) -> None:
        """Write the constants."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
