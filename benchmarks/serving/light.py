"""(a) Hundreds of open sessions that look at their status now and then: latency, throughput, and memory a session."""

import asyncio
import os
import random
import time
from pathlib import Path

from serving.clients import SocketSession
from serving.figures import Result, percentile
from serving.processes import Server, Usage, usage

__all__ = ["measure"]

SESSIONS = 500
OPENED_TOGETHER = 10
WARM_UP_SESSIONS = 20
SETTLE_S = 5.0
STEADY_S = 60.0
PAUSES_S = (2.0, 5.0)
SATURATED_S = 15.0
CALLERS = 16


def measure(folder: Path, _data_dir: str) -> list[Result]:
    """Measure."""
    settings = {"workers": 1, "torch_threads": 2, "max_sessions": SESSIONS + WARM_UP_SESSIONS}
    with Server(folder, **settings) as server:
        return [asyncio.run(_measure(server))]


async def _measure(server: Server) -> Result:
    await _close(await _open(server.url, WARM_UP_SESSIONS))
    await asyncio.sleep(SETTLE_S)
    before = _usage(server)
    began = time.perf_counter()
    sessions = await _open(server.url, SESSIONS)
    opening_s = time.perf_counter() - began
    await asyncio.sleep(SETTLE_S)
    after = _usage(server)
    steady, share = await _with_share(server, _steady(sessions))
    saturated, full_share = await _with_share(server, _saturated(sessions[:CALLERS]))
    later = _usage(server)
    await _close(sessions)
    await asyncio.sleep(SETTLE_S)
    closed = _usage(server)
    kb = (after.rss_kb - before.rss_kb) / SESSIONS
    p50, p99, most = (1000 * percentile(steady, q) for q in (50, 99, 100))
    full50, full99 = (1000 * percentile(saturated, q) for q in (50, 99))
    lines = [
        (
            f"{SESSIONS} sessions over /ws from one client process, each reset on easy_mnist with one epoch (from the "
            f"cache but for the first); `get_training_status` every {PAUSES_S[0]:g} to {PAUSES_S[1]:g} s a session at "
            f"random for {STEADY_S:g} s; then {CALLERS} of them call without pause for {SATURATED_S:g} s."
        ),
        "",
        "| | P50, ms | P99, ms | most, ms | calls/s | n | server's CPU |",
        "|---|---|---|---|---|---|---|",
        f"| steady | {p50:.1f} | {p99:.1f} | {most:.1f} | {len(steady) / STEADY_S:.0f} | {len(steady)} | {share:.0%} |",
        (
            f"| saturated | {full50:.1f} | {full99:.1f} | {1000 * max(saturated):.1f} | "
            f"{len(saturated) / SATURATED_S:.0f} | {len(saturated)} | {full_share:.0%} |"
        ),
        "",
        (
            f"Server memory: {before.rss_kb / 1024:.1f} MB without, {after.rss_kb / 1024:.1f} MB with {SESSIONS} "
            f"sessions: **{kb:.0f} KB a session** (after all calls {later.rss_kb / 1024:.1f} MB, after all have left "
            f"{closed.rss_kb / 1024:.1f} MB). Threads {before.threads}, {after.threads}, {closed.threads}; descriptors "
            f"{before.descriptors}, {after.descriptors}, {closed.descriptors}. Opening a session takes "
            f"{1000 * opening_s / SESSIONS:.1f} ms of the server's time, {OPENED_TOGETHER} at once."
        ),
    ]
    figures = {"p50_ms": p50, "p99_ms": p99, "kb_a_session": kb, "saturated_calls_per_s": len(saturated) / SATURATED_S}
    return Result(f"{SESSIONS} open sessions", lines, figures)


async def _open(url: str, count: int) -> list[SocketSession]:
    """Open sessions, a few at once, each with an episode of one epoch."""
    turns = asyncio.Semaphore(OPENED_TOGETHER)

    async def open_one() -> SocketSession:
        async with turns:
            session = await SocketSession.open(url)
            await session.reset(task_id="easy_mnist")
            await session.call("run_epochs", num_epochs=1)
            return session

    return list(await asyncio.gather(*(open_one() for _ in range(count))))


async def _close(sessions: list[SocketSession]) -> None:
    await asyncio.gather(*(session.close() for session in sessions))


async def _steady(sessions: list[SocketSession]) -> list[float]:
    """Seconds of calls that come at a steady rate."""
    ends_at, seconds = time.monotonic() + STEADY_S, []
    choice = random.Random(0)

    async def look_now_and_then(session: SocketSession) -> None:
        await asyncio.sleep(choice.uniform(0, PAUSES_S[1]))
        while time.monotonic() < ends_at:
            seconds.append(await _look(session))
            await asyncio.sleep(choice.uniform(*PAUSES_S))

    await asyncio.gather(*map(look_now_and_then, sessions))
    return seconds


async def _saturated(sessions: list[SocketSession]) -> list[float]:
    """Seconds of calls that follow each other without a pause."""
    ends_at, seconds = time.monotonic() + SATURATED_S, []

    async def look_on(session: SocketSession) -> None:
        while time.monotonic() < ends_at:
            seconds.append(await _look(session))

    await asyncio.gather(*map(look_on, sessions))
    return seconds


async def _look(session: SocketSession) -> float:
    began = time.perf_counter()
    await session.call("get_training_status")
    return time.perf_counter() - began


async def _with_share(server: Server, work: object) -> tuple[list[float], float]:
    """What some work returns, and what share of a core the server took meanwhile."""
    began, used = time.perf_counter(), _cpu_s(server.pid)
    seconds = await work  # type: ignore[misc]
    return seconds, (_cpu_s(server.pid) - used) / (time.perf_counter() - began)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _usage(server: Server) -> Usage:
    used = usage(server.pid)
    assert used is not None
    return used
