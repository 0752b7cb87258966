"""What the training room costs: lists of a large journal, and calls of agents with and without watchers.

    python benchmarks/room.py lists --episodes 10000
    python benchmarks/room.py watchers --sessions 200 --watchers 50 --pairs 6
    python benchmarks/room.py paint --sessions 200

Starts a real server of its own in a folder that is deleted. `watchers` plays phases with watchers and without, in the
order A B B A and B A A B by turns, so that other load of the machine falls on both alike; agents' calls are epochs out
of the cache. Watchers are a process of their own that yields to all others, as browsers are on other machines. The CPU
seconds of the server depend less on other load than latencies do. `paint` loads pages in Chromium, each in a browser
context of its own, so that nothing is cached.
"""

import argparse
import asyncio
import json
import math
import os
import platform
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Browser, async_playwright
from websockets.asyncio.client import ClientConnection, connect

from ml_trainer_env.server.store import Database, EpisodeHeader, Journal
from ml_trainer_env.server.store.folder import JOURNAL_FILE
from ml_trainer_env.server.store.records import CallRecord

PAGES = {
    "first page": "/room/api/episodes",
    "best scores": "/room/api/episodes?order=best",
    "one agent": "/room/api/episodes?agent=agent-7",
    "one game": "/room/api/episodes?game=fleet",
    "no match": "/room/api/episodes?agent=nobody",
    "the page itself": "/room",
}
SPACING_S = 8.0
LOADS = 10
LAZINESS = 15
"""The niceness of the watchers above that of all others."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["lists", "watchers", "paint", "stream"])
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--watchers", type=int, default=50)
    parser.add_argument("--pairs", type=int, default=6, help="each of four phases, of `watchers`")
    parser.add_argument("--url", help="of `stream`, which reads the streams of watchers until it is ended")
    chosen = parser.parse_args()
    if chosen.what == "stream":
        asyncio.run(stream(chosen.url, chosen.sessions, chosen.watchers))
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        if chosen.what == "lists":
            asyncio.run(fill(Path(folder), chosen.episodes))
        with served(folder) as (url, pid):
            if chosen.what == "lists":
                measure_lists(url)
            elif chosen.what == "paint":
                asyncio.run(measure_paint(url, chosen.sessions))
            else:
                asyncio.run(measure_watchers(url, pid, chosen.sessions, chosen.watchers, chosen.pairs))


async def fill(folder: Path, count: int) -> None:
    """Write a journal of finished episodes with a call each."""
    database = Database(folder / JOURNAL_FILE)
    journal, rng = Journal(database), random.Random(1)

    async def write(number: int) -> None:
        task = rng.choice(["easy_mnist", "medium_fashion", f"tuning/train/{number}", f"fleet/train/{number % 512}"])
        header = EpisodeHeader(f"e{number}", task, 1, "v1", "", {}, 3, agent=f"agent-{number % 20}")
        ownership = await journal.begin(header)
        reply = {"done": True, "reward": 0.0, "score": rng.random()}
        await journal.append(ownership, CallRecord("submit_model", {}, reply), [])
        journal.release(ownership)

    for first in range(0, count, 500):
        await asyncio.gather(*(write(number) for number in range(first, min(first + 500, count))))
    database.close()


def measure_lists(url: str) -> None:
    """Print the time of each list."""
    with httpx.Client(base_url=url, trust_env=False, timeout=60.0) as http:
        deep = ""
        for _ in range(20):
            page = http.get(f"/room/api/episodes?limit=200{deep}").json()
            deep = f"&after={page['next']}"
        for name, path in {**PAGES, "page 21 of 200": f"/room/api/episodes?limit=50{deep}"}.items():
            times = []
            for _ in range(30):
                began = time.perf_counter()
                http.get(path).raise_for_status()
                times.append(1000 * (time.perf_counter() - began))
            print(f"{name:18} median {statistics.median(times):6.1f} ms, worst {max(times):6.1f} ms, n = {len(times)}")


async def measure_watchers(url: str, pid: int, sessions: int, watchers: int, pairs: int) -> None:
    """Print latencies of calls, and CPU and memory of the server, with watchers and without."""
    sockets = await begin(url, sessions)
    for _ in range(4 * pairs + 1):  # fills the cache
        await train(sockets[0])
    await asyncio.gather(*map(train, sockets[1:]))  # opens what first calls open
    found: dict[bool, list[float]] = {True: [], False: []}
    spent, memory, ratios = {True: 0.0, False: 0.0}, {True: 0.0, False: 0.0}, []

    async def phase(watched: bool) -> list[float]:
        await asyncio.sleep(SPACING_S / 2)  # watchers connect, and those before them leave
        before = cpu_seconds(pid)
        times = await asyncio.gather(*map(play, sockets[1:]))
        spent[watched] += cpu_seconds(pid) - before
        memory[watched] = max(memory[watched], memory_mb(pid))
        found[watched] += times
        return times

    for number in range(pairs):
        times: dict[bool, list[float]] = {True: [], False: []}
        # Whether the two phases in the middle are watched. A load that grows or shrinks cancels out.
        is_inside = number % 2 == 0
        for watched, phases in ((not is_inside, 1), (is_inside, 2), (not is_inside, 1)):
            with streaming(url, sessions, watchers) if watched else nullcontext():
                for _ in range(phases):
                    times[watched] += await phase(watched)
        alone_ms, watched_ms = statistics.median(times[False]), statistics.median(times[True])
        ratios.append(watched_ms / alone_ms)
        print(f"pair {number + 1}: {alone_ms:.1f} and {watched_ms:.1f} ms, load {os.getloadavg()[0]:.1f}", flush=True)
    for watched, times in found.items():
        cuts = statistics.quantiles(times, n=20)
        label = f"{watchers if watched else 0} watchers"
        cpu_ms = 1000 * spent[watched] / len(times)
        latency = f"median {cuts[9]:6.1f} ms, 95 % {cuts[18]:6.1f} ms, n = {len(times)}"
        print(f"{label:12} {latency}; server: CPU {cpu_ms:.2f} ms a call, memory {memory[watched]:.0f} MB")
    logs = [math.log(ratio) for ratio in ratios]
    error = statistics.stdev(logs) / math.sqrt(pairs) if pairs > 1 else math.nan
    middle = statistics.mean(logs)
    low, high = math.exp(middle - 2 * error), math.exp(middle + 2 * error)
    print(f"ratio of medians, n = {pairs} pairs of 4 phases: {math.exp(middle):.3f}, two standard errors to each side "
          f"{low:.3f} to {high:.3f}; single pairs {min(ratios):.3f} to {max(ratios):.3f}")  # fmt: skip
    for one in sockets:
        await one.close()


async def measure_paint(url: str, sessions: int) -> None:
    """Print the time of the first paint and the weight of pages, with live episodes."""
    sockets = await begin(url, sessions)
    for _ in range(20):
        await train(sockets[0])
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for path in ("/room", "/room/episode?name=s0", "/room/play", "/room/compare?name=s0&name=s1", "/room/results"):
            loads = [await load(browser, url + path) for _ in range(LOADS)]
            paints = sorted(paint for paint, _ in loads)
            print(f"{path:30} first paint: median {statistics.median(paints):.0f} ms, {paints[0]:.0f} to "
                  f"{paints[-1]:.0f}, n = {LOADS}; {loads[-1][1] / 1000:.0f} kB")  # fmt: skip
        await browser.close()
    for one in sockets:
        await one.close()


async def load(browser: Browser, address: str) -> tuple[float, int]:
    """Load a page. Returns the milliseconds to its first paint with content, and the bytes that it loaded."""
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(address)
    await page.wait_for_timeout(1500)
    paint, weight = await page.evaluate(
        """() => [performance.getEntriesByName("first-contentful-paint")[0].startTime,
          [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
            .reduce((sum, one) => sum + one.transferSize, 0)]"""
    )
    await context.close()
    return float(paint), int(weight)


async def begin(url: str, sessions: int) -> list[ClientConnection]:
    """Begin episodes, each in a session of its own."""
    address = url.replace("http", "ws") + "/ws"
    sockets = [await connect(address, max_size=None, proxy=None) for _ in range(sessions)]
    for index, one in enumerate(sockets):
        await ask(one, {"type": "reset", "data": {"task_id": "easy_mnist", "episode_id": f"s{index}"}})
    return sockets


async def play(socket_: ClientConnection) -> float:
    """Make the call of a phase at some moment of it. Returns the milliseconds that it took."""
    await asyncio.sleep(random.random() * SPACING_S)
    began = time.perf_counter()
    await train(socket_)
    return 1000 * (time.perf_counter() - began)


async def train(socket_: ClientConnection) -> None:
    """Run an epoch."""
    action = {"type": "call_tool", "tool_name": "run_epochs", "arguments": {"num_epochs": 1}}
    await ask(socket_, {"type": "step", "data": action})


async def ask(socket_: ClientConnection, message: dict[str, Any]) -> None:
    """Send a message and wait for its answer."""
    await socket_.send(json.dumps(message))
    answer = json.loads(await socket_.recv())
    assert answer["type"] != "error", answer


@contextmanager
def streaming(url: str, sessions: int, watchers: int) -> Iterator[None]:
    """Let a process watch."""
    options = ["--url", url, "--sessions", str(sessions), "--watchers", str(watchers)]
    command = ["nice", "-n", str(LAZINESS), sys.executable, __file__, "stream", *options]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that a process has spent, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process, in MB, without its children."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def stream(url: str, sessions: int, watchers: int) -> None:
    """Read the streams of all watchers until the process is ended."""
    await asyncio.gather(*(watch(url, index, sessions) for index in range(watchers)))


async def watch(url: str, index: int, sessions: int) -> None:
    """Read a stream until cancelled: every second watcher the live list, the others an episode."""
    path = "/room/api/live/events" if index % 2 else f"/room/api/episode/events?name=s{1 + index % (sessions - 1)}"
    async with (
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=None) as http,
        http.stream("GET", path) as answer,
    ):
        async for _ in answer.aiter_bytes():
            pass


@contextmanager
def served(folder: str) -> Iterator[tuple[str, int]]:
    """Start a server. Yields its address and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {"ML_TRAINER_STATE_DIR": folder, "ML_TRAINER_DOWNLOAD": "no", "ML_TRAINER_WORKERS": "1"}
    command = [sys.executable, "-m", "ml_trainer_env.server.app", "--port", str(port)]
    process = subprocess.Popen(command, env={**os.environ, **variables}, stderr=subprocess.DEVNULL)
    try:
        while True:
            with suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/ready", trust_env=False).status_code == 200:
                    break
            if process.poll() is not None:
                raise SystemExit("the server does not start")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
