"""Many sessions of the fleet at once on one server: how long they take, what they need, and whether they are alone.

    python benchmarks/fleet/sessions.py --sessions 16 --alone 4

Each session is a client on the WebSocket and lets the job of a task run to the end of the reservation. The server
trains two references of each task, behind the calls. Then some of the sessions are played again, each alone on a new
server, and every reply must be the same. A task takes about 12 CPU seconds. With `--tasks 1` all sessions play the same
one, as a group of attempts does. Linux only: memory is read from /proc.
"""

import argparse
import asyncio
import os
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
from record import drawn_tasks

from ml_trainer_env import FleetEnv
from ml_trainer_env.validation.process import ServerProcess

Replies = list[dict[str, Any]]
PATIENCE_S = 3600.0


@dataclass(frozen=True)
class Session:
    """A session that was played.

    Attributes:
        replies: Its replies.
        ended_s: Seconds from the start of all sessions until its last reply.
        longest_call_s: Seconds of its longest call before the last one, which waits for the references.
    """

    replies: Replies
    ended_s: float
    longest_call_s: float

    @property
    def steps(self) -> int:
        """By how many steps its calls got on."""
        ends = [0, *(int(reply["step"]) for reply in self.replies)]
        return sum(max(0, after - before) for before, after in pairwise(ends))


@dataclass(frozen=True)
class Outcome:
    """What came of some sessions on one server.

    Attributes:
        sessions: The sessions.
        memory_mb: Peak of resident memory of the server, and of each of its workers.
        cpu_s: Processor seconds of the server and its workers.
    """

    sessions: list[Session]
    memory_mb: list[float]
    cpu_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--tasks", type=int, help="different tasks among them; default: as many as sessions")
    parser.add_argument("--alone", type=int, default=4, help="sessions that are played alone (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--first", type=int, default=0, help="index of the first task; default: %(default)s")
    given = parser.parse_args()
    tasks = drawn_tasks("validation", given.first, given.tasks or given.sessions)
    plays = [tasks[index % len(tasks)] for index in range(given.sessions)]
    print(
        f"{platform.machine()}, Python {platform.python_version()}, {given.workers} workers of one thread", flush=True
    )
    together = on_a_server(plays, given.workers)
    ended = [session.ended_s for session in together.sessions]
    steps = sum(session.steps for session in together.sessions)
    print(f"{len(plays)} sessions of {len(tasks)} tasks ended after {min(ended):.1f} to {max(ended):.1f} s")
    print(f"{steps} steps, {steps / max(ended):.1f} a second, beside the two references of each task")
    print(f"the longest call of 50 steps took {max(one.longest_call_s for one in together.sessions):.1f} s")
    print(f"{together.cpu_s:.0f} processor seconds, {together.cpu_s / len(plays):.1f} a session")
    server, *workers = together.memory_mb
    print(f"peak memory: server {server:.0f} MB, workers {', '.join(f'{one:.0f}' for one in workers)} MB", flush=True)
    for one_play, session in list(zip(plays, together.sessions, strict=True))[: given.alone]:
        (alone,) = on_a_server([one_play], given.workers).sessions
        same = "the same" if alone.replies == session.replies else "OTHER"
        print(f"{one_play[0]} alone: {same} {len(alone.replies)} replies, {alone.ended_s:.1f} s", flush=True)


def on_a_server(plays: Sequence[tuple[str, int]], workers: int) -> Outcome:
    """Play sessions at once on a server of their own."""
    variables = {
        "ML_TRAINER_STATE_DIR": "{folder}/state",
        "ML_TRAINER_WORKERS": str(workers),
        "ML_TRAINER_TORCH_THREADS": "1",
        "ML_TRAINER_CALL_TIMEOUT_S": str(PATIENCE_S),
        "ML_TRAINER_SESSION_TIMEOUT_S": str(2 * PATIENCE_S),
        "OMP_WAIT_POLICY": "passive",
    }
    with ServerProcess(variables=variables, path="/fleet") as server:
        while httpx.get(f"{server.base_url}/ready").status_code != 200:  # a worker is warm
            time.sleep(0.2)
        sessions = asyncio.run(all_at_once(server.base_url, plays))
        pid = int(server.inspect()["pid"])
        processes = [pid, *children(pid)]
        return Outcome(sessions, [peak_mb(one) for one in processes], sum(cpu_s(one) for one in processes))


async def all_at_once(url: str, plays: Sequence[tuple[str, int]]) -> list[Session]:
    begun = time.perf_counter()
    return list(await asyncio.gather(*(do_nothing(url, task, seed, begun) for task, seed in plays)))


async def do_nothing(url: str, task: str, seed: int, begun: float) -> Session:
    """Let a job run to its end."""
    replies: Replies = []
    calls_s: list[float] = []
    async with FleetEnv(base_url=url, message_timeout_s=PATIENCE_S) as env:
        await env.reset(task_id=task, seed=seed)
        while not env.done:
            at = time.perf_counter()
            replies.append(await env.call_tool("run_steps", num_steps=50))
            calls_s.append(time.perf_counter() - at)
    return Session(replies, time.perf_counter() - begun, max(calls_s[:-1]))


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
    return sorted(found)


def peak_mb(pid: int) -> float:
    """Return the peak of a process's resident memory, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def cpu_s(pid: int) -> float:
    """Return the processor seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
