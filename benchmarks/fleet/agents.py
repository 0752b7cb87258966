"""How agents do on drawn tasks of the fleet, each task once, in process.

    python benchmarks/fleet/agents.py nothing scripted detective --first 54 --tasks 20 --record agents.jsonl

What the record has already is not played again. A play takes about 6 CPU seconds, the references of a task 12.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from record import NOTHING, Record, drawn_tasks, interval, play_missing

from ml_trainer_env.baselines.agent import Call, GameAgent
from ml_trainer_env.baselines.fleet.brief import FleetBrief
from ml_trainer_env.baselines.fleet.detective import DetectiveAgent
from ml_trainer_env.baselines.fleet.simple import NothingAgent, ScriptedAgent
from ml_trainer_env.baselines.play import Turn, play
from ml_trainer_env.in_process.fleet import LocalFleetSession
from ml_trainer_env.in_process.training import trainer_of_process
from ml_trainer_env.server.fleet.draw import tier_of
from ml_trainer_env.server.fleet.tasks import find_task

AGENTS: Mapping[str, type[GameAgent[FleetBrief]]] = {
    NOTHING: NothingAgent,
    "scripted": ScriptedAgent,
    "detective": DetectiveAgent,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("agents", nargs="*", choices=[[], *AGENTS], help="default: all")
    parser.add_argument("--tasks", type=int, default=64, help="number of tasks; default: %(default)s")
    parser.add_argument("--first", type=int, default=0, help="index of the first one; default: %(default)s")
    parser.add_argument("--split", default="validation", help="default: %(default)s")
    parser.add_argument("--only", nargs="*", help="ids of tasks, in place of the first ones of the split")
    parser.add_argument("--seed", type=int, help="default: that of each task")
    parser.add_argument("--processes", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--record", type=Path, default=Path("agents.jsonl"), help="default: %(default)s")
    given = parser.parse_args()
    plays = [(task, find_task(task).seed) for task in given.only or ()]
    plays = plays or drawn_tasks(given.split, given.first, given.tasks)
    if given.seed is not None:
        plays = [(task, given.seed) for task, _ in plays]
    names = given.agents or list(AGENTS)
    record = Record(given.record)
    cases = [record.missing(task, seed, names) for task, seed in plays]
    for row in play_missing(record, cases, result, given.processes):
        print(f"{row['agent']:10} {row['task']} {row['score']:.3f} {' '.join(row['incidents'])}", flush=True)
    print(*report([row for name in names for row in record.of(name, plays)]), sep="\n")


def result(name: str, task: str, seed: int, references: dict[str, float]) -> dict[str, Any]:
    """Let an agent play a task, and return what came of it."""
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


if __name__ == "__main__":
    sys.exit(main())
