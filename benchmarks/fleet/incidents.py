"""What each incident costs, and which share of it an answer recovers.

    python benchmarks/fleet/incidents.py --seeds 3

An incident is shipped only if its effect is at least three deviations between seeds, what repairs it recovers at least
70 percent, and each answer that tempts at most 40 percent. A play takes about 6 CPU seconds.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from answers import ANSWERS
from local import Job, lone_task, play, references_of

from ml_trainer_env.server.fleet.incidents import Incident

RIGHT = "right"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("incidents", nargs="*", help="default: all")
    parser.add_argument("--seeds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--processes", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--record", type=Path, help="a file of JSON lines to append the results to")
    given = parser.parse_args()
    chosen = [Incident(name) for name in given.incidents] or list(ANSWERS)
    plays = [(incident.value, seed) for incident in chosen for seed in range(given.seeds)]
    print("| incident | effect | answer | recovered, mean | by seed |\n|---|---|---|---|---|")
    with ProcessPoolExecutor(given.processes, get_context("spawn")) as pool:
        results = iter(pool.map(measured, plays))
        for incident in chosen:
            found = [next(results) for _ in range(given.seeds)]
            if given.record:
                with given.record.open("a") as file:
                    file.writelines(json.dumps(one) + "\n" for one in found)
            print(*rows(incident.value, found), sep="\n", flush=True)


def rows(incident: str, found: Sequence[dict[str, Any]]) -> Iterator[str]:
    effects = [one["effect"] for one in found]
    effect = f"{statistics.fmean(effects):.3f} ({min(effects):.3f} to {max(effects):.3f})"
    for answer in found[0]["recovered"]:
        shares = [one["recovered"][answer] for one in found]
        by_seed = ", ".join(f"{share:.0%}" for share in shares)
        yield f"| {incident} | {effect} | {answer} | {statistics.fmean(shares):.0%} | {by_seed} |"


def measured(case: tuple[str, int]) -> dict[str, Any]:
    """Return effect and recovered shares of an incident and a seed."""
    name, seed = case
    incident = Incident(name)
    task = lone_task(incident.value, incident)
    references = references_of(task, seed)
    nothing, clean = references["nothing_loss"], references["clean_loss"]
    answers: dict[str, Callable[[Job], None]] = {RIGHT: ANSWERS[incident].right, **ANSWERS[incident].wrong}
    recovered = {}
    for answer, policy in answers.items():
        last = play(task, seed, policy, references)
        recovered[answer] = (nothing - last["held_out_loss"]) / (nothing - clean)
    return {"incident": name, "seed": seed, "effect": nothing - clean, **references, "recovered": recovered}


if __name__ == "__main__":
    sys.exit(main())
