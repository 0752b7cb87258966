"""The competition service under load: counts and latencies, in one run on one machine.

    python benchmarks/arena.py [--submissions 40] [--requests 4000] [--rows 10000] [--json FILE]

- submissions a minute, with agents that do next to nothing: what the service itself takes;
- latency of board and status, 50 requests at a time, while a worker runs those submissions;
- the board of 10,000 submissions: its time, and the query's plan.

The service is this tree's, on SQLite, in a folder that is thrown away.
"""

import argparse
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from serving.figures import circumstances, percentile, spread

from ml_trainer_env.arena.client import Client, connect
from ml_trainer_env.arena.database import Database
from ml_trainer_env.arena.leaderboard.service import board, board_query
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.settings import Settings
from ml_trainer_env.arena.tables import Agent, AgentStatus, Competition, Scope, User
from ml_trainer_env.arena.tokens.service import create_token

TOGETHER = 50
TOY = "class Agent:\n    def train(self, X, y): pass\n    def predict(self, X): return [0] * len(X)\n"
REPEATS = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--submissions", type=int, default=40)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    where = circumstances()
    print(f"{where}\n", flush=True)
    figures: dict[str, Any] = {"circumstances": where}
    with tempfile.TemporaryDirectory(prefix="arena-") as name:
        folder = Path(name)
        figures |= served(folder, arguments.submissions, arguments.requests)
        figures |= large_board(folder / "arena.db", arguments.rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def served(folder: Path, submissions: int, requests: int) -> dict[str, Any]:
    """Submissions by a worker, and requests meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "ARENA_DATA_DIR": str(folder), "ARENA_BASE_URL": url, "ARENA_DAILY_DEPLOYS": "100000"}
    command = [sys.executable, "-m", "ml_trainer_env.arena"]
    with (folder / "log").open("wb") as log:
        service = subprocess.Popen([*command, "serve", "--workers", "1"], env=environment, stdout=log, stderr=log)
        try:
            wait_for(url)
            # A token may send 20 requests a second, so each of those who ask has one.
            tokens = made_tokens(environment, "ada", Scope.USER, TOGETHER + 1)
            (maker,) = made_tokens(environment, "carl", Scope.CREATOR, 1)
            with connect(tokens[-1], url) as user, connect(maker, url) as creator:
                cid = prepared(creator)
                agents = [submitted(user, cid) for _ in range(submissions)]
                began = time.monotonic()
                latencies = asyncio.run(asked(url, tokens, cid, agents, requests))
                asked_s = time.monotonic() - began
                while len(httpx.get(f"{url}/api/leaderboard/competition/{cid}").json()) <= submissions:
                    time.sleep(0.2)
                evaluated = time.monotonic() - began
        finally:
            service.terminate()
            service.wait(60)
    rate = 60 * submissions / evaluated
    print(f"{submissions} submissions of 2 runs each, one worker: **{rate:.0f} a minute**, requests beside.\n")
    print("| 50 requests at a time | P50, ms | P99, ms | n |\n|---|---|---|---|")
    for name, values in latencies.items():
        print(f"| {name} | {percentile(values, 50):.1f} | {percentile(values, 99):.1f} | {len(values)} |")
    print(f"\n{requests / asked_s:.0f} requests a second.\n", flush=True)
    return {"submissions_per_minute": rate, "latencies_ms": latencies, "requests_per_s": requests / asked_s}


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit("the service did not start")


def made_tokens(environment: dict[str, str], user: str, scope: Scope, count: int) -> list[str]:
    services = Services.open(Settings.from_environment(environment))
    with contextlib.closing(services), services.database.transaction() as session:
        return [create_token(session, user, scope) for _ in range(count)]


def prepared(creator: Client) -> int:
    """A competition of one constraint run and one that counts."""
    cid: int = creator.create_competition("Benchmark", "permuted_mnist")["competition_id"]
    creator.update_settings(cid, evaluation_deployment_nb_initial_score_run=1, max_active_agents_per_participant=1000)
    creator.update_benchmark_file_content(cid, "agent.py", TOY)
    creator.run_benchmark(cid)
    while creator.benchmark_status(cid)["status"] == "running":
        time.sleep(0.2)
    creator.start_competition(cid)
    return cid


def submitted(user: Client, cid: int) -> int:
    aid: int = user.create_attached_agent(cid, "toy")["attache_agent_id"]
    user.update_agent_file_content(cid, aid, "agent.py", TOY)
    user.deploy_agent(cid, aid)
    return aid


async def asked(url: str, tokens: list[str], cid: int, agents: list[int], requests: int) -> dict[str, list[float]]:
    """Latencies in milliseconds of board and status, in turn, 50 at a time."""
    found: dict[str, list[float]] = {"leaderboard": [], "status": []}
    paths = {
        "leaderboard": lambda _: f"/api/leaderboard/competition/{cid}",
        "status": lambda n: f"/api/direct_attache_agents/competition/{cid}/{agents[n % len(agents)]}/status",
    }

    async def play(first: int) -> None:
        # A connection each: those who wait for one of a pool are not served in turn, which would be the slowest by far.
        async with httpx.AsyncClient(base_url=url, timeout=60.0) as client:
            for turn, number in enumerate(range(first, requests, TOGETHER)):
                name = "leaderboard" if turn % 2 else "status"
                headers = {"Authorization": f"Bearer {tokens[first]}"} if name == "status" else {}
                began = time.perf_counter()
                answer = await client.get(paths[name](number), headers=headers)
                answer.raise_for_status()
                found[name].append(1000 * (time.perf_counter() - began))

    await asyncio.gather(*(play(number) for number in range(TOGETHER)))
    return found


def large_board(file: Path, rows: int) -> dict[str, Any]:
    """The board of many submissions, in this process."""
    database = Database(f"sqlite:///{file}")
    with database.transaction() as session:
        competition = session.scalars(sa.select(Competition).order_by(Competition.id)).first()
        assert competition is not None
        users = [User(name=f"bulk{number}") for number in range(100)]
        session.add_all(users)
        session.flush()
        values = [
            {
                "competition_id": competition.id,
                "user_id": users[number % 100].id,
                "name": f"bulk {number}",
                "status": AgentStatus.ACTIVE,
                "files_ok": True,
                "mean_reward": (number * 7919 % rows) / rows,
                "rewards": [((number * 7919 % rows) / rows + task / 1000) % 1.0 for task in range(10)],
                "scored_at": float(number),
                "scored_deploy_id": number,
                "created_at": float(number),
            }
            for number in range(rows)
        ]
        session.execute(sa.insert(Agent), values)
    times = []
    with database.transaction(read_only=True) as session:
        for _ in range(REPEATS):
            session.expunge_all()
            began = time.perf_counter()
            count = len(board(session, competition))
            times.append(1000 * (time.perf_counter() - began))
        query = board_query(competition.id).compile(database.engine, compile_kwargs={"literal_binds": True})
        plan = [row[3] for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]
    database.close()
    print(f"Board of {count} submissions, in this process: {spread(times, 0)} ms, n = {REPEATS}.")
    print("Plan: " + "; ".join(plan) + ".")
    return {"board_rows": count, "board_ms": times, "board_plan": plan}


if __name__ == "__main__":
    main()
