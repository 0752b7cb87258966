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

from local import references_of

from ml_trainer_env.baselines.agent import Call, GameAgent
from ml_trainer_env.baselines.fleet.brief import FleetBrief
from ml_trainer_env.baselines.fleet.detective import DetectiveAgent
from ml_trainer_env.baselines.fleet.simple import NothingAgent, ScriptedAgent
from ml_trainer_env.baselines.play import Turn, play
from ml_trainer_env.in_process.fleet import LocalFleetSession
from ml_trainer_env.in_process.training import trainer_of_process
from ml_trainer_env.server.fleet.draw import tier_of
from ml_trainer_env.server.fleet.scoring import References, score
from ml_trainer_env.server.fleet.tasks import find_task

AGENTS: Mapping[str, type[GameAgent[FleetBrief]]] = {
    "nothing": NothingAgent,
    "scripted": ScriptedAgent,
    "detective": DetectiveAgent,
}
REFERENCES = "references"

Case = tuple[str, int, tuple[str, ...], dict[str, Any] | None]
"""A task, a seed, the agents that are to play it, and its references if they are known."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("agents", nargs="*", choices=[[], *AGENTS], help="default: all")
    parser.add_argument("--tasks", type=int, default=64, help="number of tasks; default: %(default)s")
    parser.add_argument("--split", default="validation", help="default: %(default)s")
    parser.add_argument("--only", nargs="*", help="ids of tasks, in place of the first ones of the split")
    parser.add_argument("--seed", type=int, help="default: that of each task")
    parser.add_argument("--processes", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--record", type=Path, default=Path("agents.jsonl"), help="default: %(default)s")
    given = parser.parse_args()
    tasks = given.only or [f"fleet/{given.split}/{index}" for index in range(given.tasks)]
    names = given.agents or list(AGENTS)
    record = Record(given.record)
    seeds = {task: find_task(task).seed if given.seed is None else given.seed for task in tasks}
    missing = [case for task in tasks if (case := record.missing(task, seeds[task], names))[2]]
    with ProcessPoolExecutor(given.processes, get_context("spawn")) as pool:
        for rows in pool.map(played, missing):
            for row in rows:
                record.add(row)
                if row["agent"] != REFERENCES:
                    told = f"{row['score']:.3f} {' '.join(row['incidents'])}"
                    print(f"{row['agent']:10} {row['task']} {told}", flush=True)
    print(*report([record.rows[name, task, seeds[task]] for task in tasks for name in names]), sep="\n")


class Record:
    """What was played, in a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows: dict[tuple[str, str, int], dict[str, Any]] = {}
        lines = path.read_text().splitlines() if path.exists() else []
        for row in map(json.loads, lines):
            self.rows[row["agent"], row["task"], row["seed"]] = row

    def missing(self, task: str, seed: int, names: Sequence[str]) -> Case:
        """Return what is left to be played of a task."""
        left = tuple(name for name in names if (name, task, seed) not in self.rows)
        return task, seed, left, self.rows.get((REFERENCES, task, seed))

    def add(self, row: dict[str, Any]) -> None:
        """Add a play."""
        self.rows[row["agent"], row["task"], row["seed"]] = row
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def played(case: Case) -> list[dict[str, Any]]:
    """Train the references of a task, unless they are known, and let agents play it."""
    task, seed, names, references = case
    incidents = [incident.value for incident in find_task(task).setup(seed).incidents]
    about = {"task": task, "seed": seed, "incidents": incidents}
    rows = []
    if references is None:
        references = {"agent": REFERENCES, **about, **references_of(task, seed)}
        rows.append(references)
    known = {key: references[key] for key in ("nothing_loss", "clean_loss")}
    return [*rows, *({"agent": name, **about, **result(name, task, seed, known)} for name in names)]


def result(name: str, task: str, seed: int, references: dict[str, float]) -> dict[str, Any]:
    """Let an agent play a task, and return what came of it."""
    if name == "nothing":  # it is one of the references
        return {"score": score(references["nothing_loss"], References(**references)), "calls": 0, "acts": []}
    session = LocalFleetSession(trainer_of_process(), find_task(task), seed, references)
    turns = play(AGENTS[name](), session)
    acts = [(turn.decision.name, dict(turn.decision.arguments)) for turn in turns if is_act(turn)]
    told = {key: session.reply[key] for key in ("score", "held_out_loss", "reports", "faults")}
    return {**told, "calls": len(turns), "acts": acts}


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
