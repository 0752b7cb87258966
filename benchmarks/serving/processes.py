"""A server in a process of its own, and what the system knows of a process. Linux only: it reads `/proc`."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

import httpx

__all__ = ["HOST", "ROOT", "Server", "Usage", "children", "environment", "usage"]

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 120.0
STOP_LIMIT_S = 20.0


class Server:
    """A server that runs the package this file belongs to, from a folder of its own, with these settings alone.

    Args:
        folder: For its log, its journal and its models.
        program: Arguments of the interpreter. The server's address is appended.
        variables: Further environment variables.
        settings: `ML_TRAINER_*` variables, without that prefix: `workers=2`.

    Attributes:
        url: Where it answers.
        log_path: All that it prints.
        state_dir: Its journal and its models.
    """

    def __init__(
        self,
        folder: Path,
        program: Sequence[str] = ("-m", "ml_trainer_env.server.app"),
        variables: Mapping[str, str] = MappingProxyType({}),
        **settings: object,
    ) -> None:
        self.log_path = folder / "server.log"
        self.state_dir = folder / "state"
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = probe.getsockname()[1]
        self.url = f"http://{HOST}:{port}"
        named = {f"ML_TRAINER_{name.upper()}": str(value) for name, value in settings.items()}
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *program, "--host", HOST, "--port", str(port)],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**environment(folder), "ML_TRAINER_STATE_DIR": str(self.state_dir), **variables, **named},
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The server's process; its children are its workers."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it. Its workers end with it."""
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_until_ready(self) -> None:
        """Wait until a worker is warm."""
        ends_at = time.monotonic() + START_LIMIT_S
        with httpx.Client(timeout=5.0, trust_env=False) as http:
            while time.monotonic() < ends_at and self.is_alive:
                with suppress(httpx.TransportError):
                    if http.get(f"{self.url}/ready").status_code == 200:
                        return
                time.sleep(0.2)
        raise RuntimeError(f"the server is not ready; it printed:\n{self.log_path.read_text()[-4000:]}")


def environment(folder: Path) -> dict[str, str]:
    """The environment of this process without settings of a server, where `ml_trainer_env` is the package of this file.

    An installed package may be another tree than the one measured, a clone for instance: it is named on PYTHONPATH,
    through a link in `folder`.
    """
    packages = folder / "packages"
    packages.mkdir(exist_ok=True)
    with suppress(FileExistsError):
        (packages / "ml_trainer_env").symlink_to(ROOT, target_is_directory=True)
    own = {name: value for name, value in os.environ.items() if not name.startswith("ML_TRAINER_")}
    return {**own, "PYTHONPATH": str(packages), "OMP_WAIT_POLICY": "passive", "ML_TRAINER_DOWNLOAD": "no"}


@dataclass(frozen=True)
class Usage:
    """What a process uses.

    Attributes:
        rss_kb: Memory it has resident.
        descriptors: Open files and sockets.
        threads: Its threads.
    """

    rss_kb: int
    descriptors: int
    threads: int


def usage(pid: int) -> Usage | None:
    """What a process uses, None if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        facts = dict(line.split(":", 1) for line in lines if ":" in line)
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        return Usage(int(facts["VmRSS"].split()[0]), descriptors, int(facts["Threads"]))
    except (OSError, KeyError):
        return None


def children(pid: int) -> list[int]:
    """Processes that a process has started, the eldest first; those that have ended and were not waited for too."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # "pid (name) state parent ...", where a name may hold blanks; the 22nd field is when it started.
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                found.append((int(fields[19]), int(path.parent.name)))
    return [child for _, child in sorted(found)]
