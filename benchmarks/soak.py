"""A soak: clients come and go for an hour against one server, and then nothing may be left of them.

    python benchmarks/soak.py --minutes 60 [--out FOLDER] [--visitors 12] [--mcp auto|yes|no]

Visitors play, drop their sockets in mid-call, resume, fork, take episodes over, send nonsense, hang up, stop reading,
leave sessions idle until the server ends them, and call over MCP and JSON-RPC; the younger of two workers is killed
now and then. Every ten seconds a sample is taken: memory, file descriptors, threads and processes, episodes, the
journal and the models.

Before and after, when all have left and what was left behind has timed out, the server is looked at in the same way:
every place is taken at once and given back, and then it is at rest. It fails (exit status 1) if a place, a file
descriptor, a thread or a process is left that was not there before, if memory grows, or if a client was told, or the
log says, what should not be. It runs the package that this file belongs to, in a folder of its own, and takes seven
minutes longer than it is told.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from serving.figures import circumstances, percentile
from serving.processes import Server
from soaking.monitor import Monitor, Sample
from soaking.verdict import Item, verdict
from soaking.visitors import Tally, UnexpectedError, Visitors

MAX_SESSIONS = 48
CALL_LIMIT_S = 40
IDLE_LIMIT_S = CALL_LIMIT_S + 60
"""The shortest that a server takes."""

REAPED_AFTER_S = IDLE_LIMIT_S * 1.25 + 10
"""OpenEnv looks for idle sessions four times within that limit."""

WARM_UP_S = 60.0
AT_REST_S = 15.0
"""Threads that served a call end after ten idle seconds."""

SAMPLE_EVERY_S = 10.0
ALLOWED_KB = 50.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--out", type=Path, help="a folder for all that is left (default: a temporary one)")
    parser.add_argument("--visitors", type=int, default=12, help="how many at a time (default: %(default)s)")
    parser.add_argument("--mcp", choices=("auto", "yes", "no"), default="auto", help="whether to call over MCP too")
    parser.add_argument("--kill-every", type=float, default=120.0, help="seconds between two workers killed; 0 never")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--allowed-kb", type=float, default=ALLOWED_KB, help="growth per 1000 calls that passes")
    arguments = parser.parse_args()
    folder = arguments.out or Path(tempfile.mkdtemp(prefix="soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{circumstances()}\nin {folder}", flush=True)
    items = asyncio.run(soak(arguments, folder))
    text = "\n".join(item.line() for item in items)
    print(text, flush=True)
    (folder / "verdict.json").write_text(json.dumps([asdict(item) for item in items], indent=1))
    sys.exit(any(item.passed is False for item in items))


async def soak(arguments: argparse.Namespace, folder: Path) -> list[Item]:
    """Warm up, run, and judge."""
    settings = {
        "workers": 2,
        "torch_threads": 1,
        "max_sessions": MAX_SESSIONS,
        "call_timeout_s": CALL_LIMIT_S,
        "session_timeout_s": IDLE_LIMIT_S,
        "state_mb": 200,  # little enough that models are dropped, and trained again
    }
    with Server(folder, **settings) as server:
        monitor = Monitor(server, folder / "samples.jsonl")
        with_mcp = arguments.mcp == "yes" or (arguments.mcp == "auto" and await monitor.has_mcp())
        print(f"{server.url}, process {server.pid}, {'with' if with_mcp else 'without'} MCP", flush=True)
        visitors = Visitors(server.url, REAPED_AFTER_S, with_mcp, arguments.seed)
        async with in_background(monitor.watch(SAMPLE_EVERY_S, tell_every_s=60.0)):
            monitor.phase = "warm-up"
            await visitors.crowd(arguments.visitors, WARM_UP_S)
            rest = await at_rest(visitors, monitor)
            tell(visitors.tally)
            visitors.tally.unexpected.clear()
            monitor.phase = "run"
            async with in_background(monitor.kill_workers(arguments.kill_every) if arguments.kill_every else None):
                await visitors.crowd(arguments.visitors, arguments.minutes * 60)
            end = await at_rest(visitors, monitor)
        tell(visitors.tally)
        return verdict(monitor.samples, rest, end, visitors.tally.unexpected, server.log_path, arguments.allowed_kb)


async def at_rest(visitors: Visitors, monitor: Monitor) -> Sample:
    """Wait until sessions that were left behind have timed out, fill the server once, and look at what is left."""
    monitor.phase = "lull"
    await asyncio.sleep(REAPED_AFTER_S)
    monitor.phase = "full"
    try:
        await visitors.fill(MAX_SESSIONS)
    except UnexpectedError as problem:
        visitors.tally.note("fill", "unexpected", str(problem))
    monitor.phase = "rest"
    await asyncio.sleep(AT_REST_S)
    sample = await monitor.sample()
    print(sample.line(), flush=True)
    return sample


def tell(tally: Tally) -> None:
    """Print what visitors have met."""
    for kind, count in sorted(tally.visits.items()):
        outcomes = ", ".join(f"{n} {outcome}" for (of, outcome), n in sorted(tally.outcomes.items()) if of == kind)
        print(f"  {kind}: {count} ({outcomes})")
    for name, values in (("get_training_status", tally.looks), ("/health", tally.health)):
        if values:
            p50, p99, most = (1000 * percentile(values, share) for share in (50, 99, 100))
            print(f"  {name}: P50 {p50:.1f} ms, P99 {p99:.1f} ms, most {most:.1f} ms, n = {len(values)}")
    for problem in tally.unexpected:
        print(f"  unexpected: {problem}")


@asynccontextmanager
async def in_background(work: object) -> AsyncIterator[None]:
    """Run a coroutine while the block runs, if there is one. What goes wrong in it ends the block's task."""
    if work is None:
        yield
        return
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work)  # type: ignore[arg-type]
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


if __name__ == "__main__":
    main()
