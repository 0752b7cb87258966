"""How agents do on drawn tasks of the fleet, each task once, in process.

    python benchmarks/fleet/agents.py nothing scripted detective --tasks 64 --record agents.jsonl

What the record has already is not played again. A play takes about 6 CPU seconds, the references of a task 12.
"""

import argparse
import json
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from local import Job, play, references_of

from ml_trainer_env.baselines.agent import Call, GameAgent
from ml_trainer_env.baselines.fleet.brief import FleetBrief, brief_of
from ml_trainer_env.baselines.fleet.detective import DetectiveAgent
from ml_trainer_env.baselines.fleet.simple import NothingAgent, ScriptedAgent
from ml_trainer_env.baselines.play import Turn
from ml_trainer_env.baselines.play import play as play_agent
from ml_trainer_env.baselines.session import CallRefusedError, Reply, ToolSpec
from ml_trainer_env.server.fleet.draw import tier_of
from ml_trainer_env.server.fleet.scoring import References, score
from ml_trainer_env.server.fleet.tasks import find_task
from ml_trainer_env.server.fleet.tools import TOOLS

AGENTS: Mapping[str, type[GameAgent[FleetBrief]]] = {
    "nothing": NothingAgent,
    "scripted": ScriptedAgent,
    "detective": DetectiveAgent,
}
REFERENCES = "references"


class LocalSession:
    """An episode that an agent plays in this process; see `baselines.session.GameSession`."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.brief = brief_of(job.episode.describe())
        self.tools: Sequence[ToolSpec] = tuple(
            ToolSpec(tool.name, tool.description, {}) for tool in map(TOOLS.find, TOOLS.names)
        )

    def call(self, name: str, arguments: Mapping[str, object]) -> Reply:
        """Call a tool."""
        reply = self._job.call(name, **arguments)
        if "error" in reply:
            raise CallRefusedError(reply["error"])
        return reply


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("agents", nargs="*", choices=[[], *AGENTS], help="default: all")
    parser.add_argument("--tasks", type=int, default=64, help="number of tasks; default: %(default)s")
    parser.add_argument("--split", default="validation", help="default: %(default)s")
    parser.add_argument("--only", nargs="*", help="ids of tasks, in place of the first ones of the split")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--processes", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--record", type=Path, default=Path("agents.jsonl"), help="default: %(default)s")
    given = parser.parse_args()
    tasks = given.only or [f"fleet/{given.split}/{index}" for index in range(given.tasks)]
    names = given.agents or list(AGENTS)
    record = Record(given.record)
    with ProcessPoolExecutor(given.processes, get_context("spawn")) as pool:
        cases = [(REFERENCES, task, given.seed, None) for task in tasks]
        for row in pool.map(played, [case for case in cases if case[:3] not in record.rows]):
            record.add(row)
        plays = [
            (name, task, given.seed, record.rows[REFERENCES, task, given.seed]) for task in tasks for name in names
        ]
        for row in pool.map(played, [case for case in plays if case[:3] not in record.rows]):
            record.add(row)
            print(f"{row['agent']:10} {row['task']} {row['score']:.3f} {' '.join(row['incidents'])}", flush=True)
    print(*report([record.rows[name, task, given.seed] for task in tasks for name in names]), sep="\n")


class Record:
    """What was played, in a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows: dict[tuple[str, str, int], dict[str, Any]] = {}
        lines = path.read_text().splitlines() if path.exists() else []
        for row in map(json.loads, lines):
            self.rows[row["agent"], row["task"], row["seed"]] = row

    def add(self, row: dict[str, Any]) -> None:
        """Add a play."""
        self.rows[row["agent"], row["task"], row["seed"]] = row
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def played(case: tuple[str, str, int, dict[str, Any] | None]) -> dict[str, Any]:
    """Train the references of a task, or play it."""
    name, task, seed, references = case
    setup = find_task(task).setup(seed)
    row: dict[str, Any] = {
        "agent": name,
        "task": task,
        "seed": seed,
        "incidents": [one.value for one in setup.incidents],
    }
    if references is None:
        return row | references_of(task, seed)
    known = {key: references[key] for key in ("nothing_loss", "clean_loss")}
    if name == "nothing":  # it is one of the references
        return row | {"score": score(known["nothing_loss"], References(**known)), "calls": 0, "acts": []}
    turns: list[Turn] = []

    def policy(job: Job) -> None:
        turns.extend(play_agent(AGENTS[name](), LocalSession(job)))

    last = play(task, seed, policy, known)
    acts = [(turn.decision.name, dict(turn.decision.arguments)) for turn in turns if is_act(turn)]
    told = {key: last[key] for key in ("score", "held_out_loss", "reports", "faults")}
    return row | told | {"calls": len(turns), "acts": acts}


def is_act(turn: Turn) -> bool:
    looks = {"run_steps", "query_metrics", "read_log", "list_checkpoints", "get_training_status", "report_incident"}
    return isinstance(turn.decision, Call) and turn.decision.name not in looks


def report(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield tables of mean scores with 95 % intervals: of all tasks, by tier, and by incident."""
    names = list(dict.fromkeys(row["agent"] for row in rows))
    tables: list[tuple[str, dict[str, dict[str, list[float]]]]] = []
    for title, groups_of in (
        ("all", lambda _: ["all tasks"]),
        ("tier", lambda row: [str(tier_of(int(row["task"].rsplit("/", 1)[-1])))] if "/" in row["task"] else []),
        ("incident", lambda row: row["incidents"]),
    ):
        table: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            for group in groups_of(row):
                table[group][row["agent"]].append(row["score"])
        tables.append((title, table))
    for title, table in tables:
        yield f"\n| {title} | n | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}"
        for group in sorted(table, key=lambda name: (len(name), name) if name.isdigit() else (99, name)):
            scores = table[group]
            yield f"| {group} | {len(scores[names[0]])} | {' | '.join(interval(scores[name]) for name in names)} |"


def interval(scores: Sequence[float]) -> str:
    """The mean and half the width of its 95 % interval."""
    mean = statistics.fmean(scores)
    if len(scores) < 2:
        return f"{mean:.3f}"
    return f"{mean:.3f} ± {1.96 * statistics.stdev(scores) / math.sqrt(len(scores)):.3f}"


if __name__ == "__main__":
    sys.exit(main())
