"""How the entrants of the registry do on calibrated tasks, each task once, in this process, one thread each.

    python benchmarks/families/entrants.py nothing prober tpe pbt --first 0 --tasks 24 --record entrants.jsonl

What the record has already is not played again. Differences are paired by task; TPE and CMA-ES need optuna and cmaes.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shared import interval, play_task, spread_over

from ml_trainer_env.baselines.registry import NAMES, NO_DEFAULT, entrants
from ml_trainer_env.server.tuning.families.tasks import family_task

SEED_OFFSET = 100
"""Tasks are played with their own seed plus this, so that no run is the oracle's own."""

Case = tuple[str, str, int]
"""Name of an entrant, split, and index of a task."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[[], *NAMES["tuning"]], help="default: all")
    parser.add_argument("--split", default="validation", help="default: %(default)s")
    parser.add_argument("--first", type=int, default=0, help="index of the first task; default: %(default)s")
    parser.add_argument("--tasks", type=int, default=24, help="number of tasks; default: %(default)s")
    parser.add_argument("--processes", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--record", type=Path, default=Path("entrants.jsonl"), help="default: %(default)s")
    given = parser.parse_args()
    names = given.names or list(NAMES["tuning"])
    cases = [(name, given.split, given.first + place) for place in range(given.tasks) for name in names]
    known = read(given.record)
    missing = [case for case in cases if case not in known]
    with given.record.open("a") as record:
        for case, outcome in zip(missing, spread_over(play_case, missing, given.processes), strict=True):
            known[case] = outcome
            record.write(json.dumps({"case": case, **outcome}) + "\n")
            record.flush()
    print(*table(names, cases, known), sep="\n")


def read(path: Path) -> dict[Case, dict[str, Any]]:
    """Read what was played."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = map(json.loads, lines)
    return {tuple(row["case"]): row for row in rows}


def play_case(case: Case) -> dict[str, Any]:
    """Let an entrant play a task."""
    name, split, index = case
    return asdict(play_task(entrants("tuning")[name](), family_task(split, index), SEED_OFFSET))


def table(names: Sequence[str], cases: Sequence[Case], known: dict[Case, dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table: means with half of the 95 % interval, and what the default as first trial brings."""
    places = list(dict.fromkeys(case[1:] for case in cases))
    yield f"{len(places)} tasks from {'/'.join(map(str, places[0]))} on, rubric v3, seed of the task + {SEED_OFFSET}\n"
    yield "| entrant | mean score | median | best of all | median s | default first, minus not |"
    yield "|---|---|---|---|---|---|"
    most = [max(known[(name, *place)]["x"] for name in names) for place in places]
    for name in names:
        rows = [known[(name, *place)] for place in places]
        mean, half = interval([row["score"] for row in rows])
        won = sum(row["x"] >= best for row, best in zip(rows, most, strict=True))
        seconds = statistics.median(row["seconds"] for row in rows)
        middle = statistics.median(row["score"] for row in rows)
        told = f"| {name} | {mean:.3f} ± {half:.3f} | {middle:.3f} | {won} | {seconds:.2f} |"
        other = name + NO_DEFAULT
        if other in names:
            gains = [row["score"] - known[(other, *place)]["score"] for row, place in zip(rows, places, strict=True)]
            gain, half = interval(gains)
            told += f" {gain:+.3f} ± {half:.3f} |"
        yield told


if __name__ == "__main__":
    sys.exit(main())
