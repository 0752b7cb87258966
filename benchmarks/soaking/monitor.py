"""Samples what a server and its workers use, and kills a worker now and then."""

import asyncio
import json
import os
import re
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from serving.clients import new_http
from serving.processes import Server, children, usage

__all__ = ["Monitor", "Sample"]


CLOSED_AFTER_S = 0.5
"""The server needs a moment to close the connection that its figures came over; until then it would be counted."""


@dataclass(frozen=True)
class Sample:
    """A look at the server.

    Attributes:
        seconds: Since the beginning.
        phase: What was going on.
        rss_kb: Of the server.
        descriptors: Of the server.
        threads: Of the server.
        worker_rss_kb: Of each worker, by process id.
        calls: Tool calls it has answered.
        epochs: Epochs its workers have trained.
        open_episodes: Episodes that a session plays.
        queue_length: Epochs that wait for a worker.
        worker_deaths: Workers lost.
        journal_kb: The journal, without its log.
        wal_kb: Its write-ahead log.
        states_kb: Files in the folder of models.
        states_listed_kb: What the journal says they come to.
        partial_files: Files half written.
    """

    seconds: float
    phase: str
    rss_kb: int
    descriptors: int
    threads: int
    worker_rss_kb: dict[int, int]
    calls: float
    epochs: float
    open_episodes: float
    queue_length: float
    worker_deaths: float
    journal_kb: float
    wal_kb: float
    states_kb: float
    states_listed_kb: float
    partial_files: int

    @property
    def processes(self) -> int:
        """Children of the server."""
        return len(self.worker_rss_kb)

    def line(self) -> str:
        """The sample in a line."""
        workers = "+".join(str(kb // 1024) for kb in self.worker_rss_kb.values())
        return (
            f"{self.seconds:6.0f} s {self.phase:10} rss {self.rss_kb / 1024:6.1f} MB, workers {workers} MB, "
            f"{self.descriptors} fd, {self.threads} threads, {self.open_episodes:.0f} open, {self.calls:.0f} calls, "
            f"{self.epochs:.0f} epochs, {self.worker_deaths:.0f} deaths, journal {self.journal_kb / 1024:.1f} MB "
            f"+ {self.wal_kb / 1024:.1f} WAL, models {self.states_kb / 1024:.1f} MB"
        )


class Monitor:
    """Takes samples, and writes each to a file.

    Args:
        server: Whom to watch.
        path: The file, a JSON object a line.
    """

    def __init__(self, server: Server, path: Path) -> None:
        self.samples: list[Sample] = []
        self.phase = "start"
        self._server = server
        self._path = path
        self._began = time.monotonic()

    async def watch(self, every_s: float, tell_every_s: float) -> None:
        """Take a sample every now and then, and tell of one less often, until cancelled."""
        told_at = -tell_every_s
        while True:
            sample = await self.sample()
            if sample.seconds - told_at >= tell_every_s:
                print(sample.line(), flush=True)
                told_at = sample.seconds
            await asyncio.sleep(every_s)

    async def sample(self) -> Sample:
        """Take a sample."""
        async with new_http() as http:
            figures = _Figures((await http.get(f"{self._server.url}/metrics")).text)
        await asyncio.sleep(CLOSED_AFTER_S)
        used = usage(self._server.pid)
        if used is None:
            raise RuntimeError("the server has ended")
        workers = {pid: usage(pid) for pid in children(self._server.pid)}
        sample = Sample(
            seconds=round(time.monotonic() - self._began, 1),
            phase=self.phase,
            rss_kb=used.rss_kb,
            descriptors=used.descriptors,
            threads=used.threads,
            worker_rss_kb={pid: found.rss_kb if found else 0 for pid, found in workers.items()},
            calls=figures.total("call_seconds_count"),
            epochs=figures.total("epoch_seconds_count"),
            open_episodes=figures.total("open_episodes"),
            queue_length=figures.total("queue_length"),
            worker_deaths=figures.total("worker_deaths_total"),
            states_listed_kb=figures.total("state_bytes") / 1024,
            **self._files(),
        )
        self.samples.append(sample)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(sample)) + "\n")
        return sample

    async def kill_workers(self, every_s: float) -> None:
        """Kill the youngest worker every now and then, until cancelled; the eldest lives on, to be watched."""
        while True:
            await asyncio.sleep(every_s)
            workers = children(self._server.pid)
            if len(workers) > 1:
                with suppress(ProcessLookupError):
                    os.kill(workers[-1], signal.SIGKILL)

    async def has_mcp(self) -> bool:
        """Whether the server speaks MCP at /mcp."""
        options = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "soak", "version": "1"}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": options}
        headers = {"accept": "application/json, text/event-stream"}
        async with new_http() as http:
            with suppress(httpx.HTTPError):
                response = await http.post(f"{self._server.url}/mcp", json=message, headers=headers)
                return response.status_code == 200 and "serverInfo" in response.text
        return False

    def _files(self) -> dict[str, float]:
        folder = self._server.state_dir
        sizes: dict[str, float] = {}
        for path in folder.rglob("*"):
            with suppress(FileNotFoundError):
                if path.is_file():
                    sizes[path.name] = path.stat().st_size / 1024
        return {
            "journal_kb": sizes.get("journal.sqlite3", 0.0),
            "wal_kb": sizes.get("journal.sqlite3-wal", 0.0),
            "states_kb": sum(size for name, size in sizes.items() if name.endswith(".safetensors")),
            "partial_files": sum(name.endswith(".part") for name in sizes),
        }


class _Figures:
    """What /metrics says."""

    def __init__(self, text: str) -> None:
        self._lines = [line for line in text.splitlines() if not line.startswith("#")]

    def total(self, name: str) -> float:
        """The sum of a figure over its labels."""
        pattern = re.compile(rf"ml_trainer_{name}(\{{.*\}})? (\S+)")
        return sum(float(match[2]) for line in self._lines if (match := pattern.fullmatch(line)))
