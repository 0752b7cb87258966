"""A server that is killed and started again: on the same port, with the same state folder."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import sqlalchemy as sa

from ml_trainer_env.server.store.folder import JOURNAL_FILE, STATES_FOLDER

HOST = "127.0.0.1"
WORKERS = 2
TORCH_THREADS = 1

LIVENESS_S = 240.0
"""How long to wait for what must come, on a machine however busy."""

_NURSERY = Path(__file__).with_name("chaos_nursery.py")


async def until(holds: Callable[[], Any], what: str, every_s: float = 0.001) -> None:
    """Wait until something holds."""
    ends_at = time.monotonic() + LIVENESS_S
    while not holds():
        if time.monotonic() > ends_at:
            raise TimeoutError(f"waited {LIVENESS_S:g} s in vain until {what}")
        await asyncio.sleep(every_s)


class MortalServer:
    """A server that somebody kills from time to time, and started again. On leaving it is killed for good.

    Args:
        folder: Where it keeps its state and its log.
        cache: Whether epochs that were trained before are not trained again.
        database_url: The database of its journal. None for a file in its state folder.
        variables: More environment variables.
    """

    has_nodes = False

    def __init__(
        self,
        folder: Path,
        cache: bool,
        database_url: str | None,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._database_url = database_url
        self._variables = variables
        self._watch: sa.Connection | None = None
        self.state = folder / "state"
        self.log = folder / "server.log"
        self.url = ""
        self._pid = 0
        self._cache = cache
        self._nursery: asyncio.subprocess.Process | None = None

    @property
    def urls(self) -> Sequence[str]:
        """Where it is when it is there."""
        return [self.url]

    @property
    def journal(self) -> Path | str:
        """The place of its journal."""
        return self._database_url or self.state / JOURNAL_FILE

    async def __aenter__(self) -> Self:
        port = _free_port()
        self.url = f"http://{HOST}:{port}"
        self._nursery = await asyncio.create_subprocess_exec(
            sys.executable,
            *(str(_NURSERY), HOST, str(port), str(self.log)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=self._environment(),
        )
        await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._nursery is not None
        assert self._nursery.stdin is not None
        self._nursery.stdin.close()
        await self._nursery.wait()
        if self._watch is not None:
            self._watch.close()

    @property
    def models(self) -> Path | str:
        """The place of its models."""
        return self.state / STATES_FOLDER

    async def die(self, _draw: random.Random) -> None:
        """Let it be killed. It is starting again on return."""
        os.kill(self._pid, signal.SIGKILL)
        await self._start()

    async def lose_a_worker(self, draw: random.Random) -> None:
        """Let one of its workers be killed, as soon as there is one."""
        await until(lambda: self._kill_a_worker(draw), "there is a worker", every_s=0.02)

    async def lose_a_node(self, _draw: random.Random) -> None:
        """It has none."""
        raise NotImplementedError

    async def next_write(self, unless: Callable[[], bool]) -> None:
        """Wait until something is written to the journal, unless nothing is going to be."""
        before = self._last_write()
        await until(lambda: self._last_write() != before or unless(), "the journal is written to")

    def processes(self) -> list[int]:
        """All processes that were ever started for it and still run: they have its folder in their environment."""
        return [pid for pid in _pids() if self._owns(pid)]

    async def _start(self) -> None:
        assert self._nursery is not None
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(b"\n")
        self._pid = int(await self._nursery.stdout.readline())

    def _kill_a_worker(self, draw: random.Random) -> bool:
        """Whether there was one."""
        workers = [pid for pid in _pids() if _is_worker_of(self._pid, pid)]
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(draw.choice(workers), signal.SIGKILL)
                return True
        return False

    def _last_write(self) -> object:
        """Changes with every write to the journal."""
        if self._database_url is not None:
            if self._watch is None:
                engine = sa.create_engine(self._database_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
                self._watch = engine.connect()
            return self._watch.exec_driver_sql("SELECT pg_current_wal_lsn()").scalar_one()
        with contextlib.suppress(FileNotFoundError):
            written = (self.state / f"{JOURNAL_FILE}-wal").stat()
            return written.st_mtime_ns, written.st_size
        return 0, 0

    def _owns(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            return f"ML_TRAINER_STATE_DIR={self.state}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes()
        return False

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ML_TRAINER_")}
        return {
            **inherited,
            "OMP_WAIT_POLICY": "passive",
            "ML_TRAINER_STATE_DIR": str(self.state),
            "ML_TRAINER_WORKERS": str(WORKERS),
            "ML_TRAINER_TORCH_THREADS": str(TORCH_THREADS),
            "ML_TRAINER_CACHE": "yes" if self._cache else "no",
            "ML_TRAINER_DOWNLOAD": "no",
            **({"ML_TRAINER_DATABASE_URL": self._database_url} if self._database_url else {}),
            **self._variables,
        }


def _pids() -> list[int]:
    return sorted(int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit())


def _is_worker_of(server: int, pid: int) -> bool:
    """Whether it is one, and alive: the command line of a process that has ended is empty."""
    with contextlib.suppress(OSError):
        parent = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]
        return int(parent) == server and b"executors.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
