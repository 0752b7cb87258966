"""An environment's server as a process of this machine: what graders need of a provider, without a container.

There is no sandbox: the network is not restricted and the process sees this machine's files. Checks of containment
and of the network need a container. Each server gets a new, empty folder for its state, so that none finds what
another has kept.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import httpx

__all__ = ["Command", "ServerProcess", "ServerStartError", "default_command"]

START_LIMIT_S = 120.0
STOP_LIMIT_S = 20.0
SAMPLE_S = 2.0
"""Seconds between samples. One walks the memory of all processes, which takes a fiftieth of a second or more."""

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100

Command = Sequence[str]
"""A command with `{port}` where the port stands."""


class ServerStartError(RuntimeError):
    """The server did not become healthy. The message has the end of its log."""


def default_command() -> list[str]:
    """Return the command of OpenEnv's convention: the script `server` of this Python environment."""
    return [str(Path(sys.executable).with_name("server")), "--host", "127.0.0.1", "--port", "{port}"]


class ServerProcess:
    """A running server. OpenEnv's `RunningSubject`, with `another` and `usage`. Use it as a context manager.

    Args:
        command: Starts the server.
        variables: Environment variables. `{folder}` is the server's own folder.
        headers: Headers of each request.
        path: Path of the environment on the server, such as /game. Empty for the root.

    Raises:
        ServerStartError: The server does not become healthy.
    """

    def __init__(
        self,
        command: Command | None = None,
        variables: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        path: str = "",
    ) -> None:
        self._command = list(command or default_command())
        self._variables = dict(variables or {})
        self.headers = dict(headers or {})
        self._path = path
        self._folder = tempfile.TemporaryDirectory(prefix="validation-", ignore_cleanup_errors=True)
        self._log = Path(self._folder.name) / "server.log"
        port = _free_port()
        self.base_url = f"http://127.0.0.1:{port}{path.rstrip('/')}"
        self._started = time.monotonic()
        self._peak_bytes, self._cpu_s = 0, 0.0
        self._stopping = threading.Event()
        self._process = self._start(port)
        try:
            self._wait_until_healthy()
        except BaseException:
            self.stop()
            raise
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def another(self) -> "ServerProcess":
        """Start another server by the same command, with a folder of its own."""
        return ServerProcess(self._command, self._variables, self.headers, self._path)

    def inspect(self) -> dict[str, Any]:
        """Return facts for the report."""
        return {"provider": "process", "command": Path(self._command[0]).name, "pid": self._process.pid}

    def usage(self) -> dict[str, float]:
        """Return the peak of memory in MB, the mean number of busy cores since the start, and the disk in MB.

        On Linux, of the process and all its descendants; empty elsewhere, except for the disk.
        """
        self._take_sample()
        disk = sum(path.stat().st_size for path in Path(self._folder.name).rglob("*") if path.is_file())
        measured = {"disk_mb": disk / 2**20}
        if self._peak_bytes:
            elapsed = time.monotonic() - self._started
            measured |= {"memory_mb": self._peak_bytes / 2**20, "cpu": self._cpu_s / elapsed}
        return measured

    def logs(self, max_bytes: int = 65_536) -> str:
        """Return the end of what the server printed."""
        return self._log.read_bytes()[-max_bytes:].decode("utf-8", "replace") if self._log.exists() else ""

    def stop(self) -> None:
        """End the server. Safe to repeat."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_LIMIT_S)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._folder.cleanup()

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        folder = Path(self._folder.name)
        state = folder / "state"
        state.mkdir()
        own = {name: text.replace("{folder}", str(folder)) for name, text in self._variables.items()}
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [part.replace("{port}", str(port)) for part in self._command],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "XDG_STATE_HOME": str(state), **own},
                start_new_session=True,
            )

    def _wait_until_healthy(self) -> None:
        ends_at = time.monotonic() + START_LIMIT_S
        with httpx.Client(timeout=5.0, trust_env=False) as http:
            while time.monotonic() < ends_at and self._process.poll() is None:
                with suppress(httpx.TransportError):
                    if http.get(f"{self.base_url}/health").status_code == 200:
                        return
                time.sleep(0.1)
        raise ServerStartError(
            f"{self._command[0]} does not serve {self.base_url}/health; it printed: {self.logs(2000)}"
        )

    def _sample(self) -> None:
        while not self._stopping.wait(SAMPLE_S):
            self._take_sample()

    def _take_sample(self) -> None:
        sampled = [_memory_and_time(pid) for pid in _descendants(self._process.pid)]
        self._peak_bytes = max(self._peak_bytes, sum(memory for memory, _ in sampled))
        self._cpu_s = max(self._cpu_s, sum(seconds for _, seconds in sampled))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _descendants(root: int) -> list[int]:
    """The process and all that descend from it. Empty where there is no /proc."""
    parents = dict(_parents())
    found = [root] if root in parents else []
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found


def _parents() -> Iterator[tuple[int, int]]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            yield int(path.parent.name), int(path.read_text().rpartition(")")[2].split()[1])


def _memory_and_time(pid: int) -> tuple[int, float]:
    """Bytes of memory, shared pages counted by their share, and seconds of processor time, of ended children too."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return kilobytes * 1024, sum(map(int, fields[11:15])) / TICKS
    except (OSError, ValueError, StopIteration):  # it has just ended
        return 0, 0.0
