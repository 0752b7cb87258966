"""Writes the oracles of the fleet's named tasks: the calls of what repairs each incident, at the task's own seed.

    python benchmarks/fleet/oracles.py fleet/validation/oracles
    ml-trainer-validate record --package fleet --path /fleet fleet/validation/oracles/*.json

The first command writes the calls and leaves the rest of a file as it was, the second one their rewards. `max_reward`
is written by hand: the recorded verdict, rounded up to a twentieth. A play takes about 6 CPU seconds.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from answers import ANSWERS, Policy
from local import Job, play

from ml_trainer_env.server.fleet.incidents import Incident
from ml_trainer_env.server.fleet.tasks import NAMED, FleetTask, count_tasks, task_at
from ml_trainer_env.server.fleet.tools import LIMITS, TOOLS
from ml_trainer_env.server.trainer.figures import Figures

UNKNOWN: Figures = {"nothing_loss": 0.0, "clean_loss": 0.0}
"""The score is not used, so the references are not trained."""

Call = tuple[str, dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("tasks", nargs="*", help="default: all")
    given = parser.parse_args()
    named = [task_at(NAMED, index) for index in range(count_tasks(NAMED))]
    for task in [one for one in named if one.id in given.tasks or not given.tasks]:
        path = given.folder / f"{task.id}.json"
        kept = json.loads(path.read_text()) if path.exists() else {}
        kept.pop("recorded", None)
        path.write_text(json.dumps({**kept, **oracle_of(task)}, indent=2) + "\n")
        print(path, flush=True)


def oracle_of(task: FleetTask) -> dict[str, Any]:
    """Return the oracle of a task."""
    assert task.incident is not None
    is_idle = task.incident is Incident.NOTHING
    calls = list(joined(calls_of(task, nothing if is_idle else ANSWERS[task.incident].right)))
    known = {arguments["checkpoint"] for tool, arguments in calls if tool == "restart"}
    return {
        "task": task.id,
        "reset": {"task_id": task.id, "seed": task.seed},
        **({"idle": True} if is_idle else {}),
        **({"known": sorted(known)} if known else {}),
        "calls": [{"tool": tool, "arguments": arguments} for tool, arguments in calls],
    }


def calls_of(task: FleetTask, policy: Policy) -> list[Call]:
    """Return the calls of a policy to the end of the episode, without those that only read."""
    jobs: list[Job] = []

    def noted(job: Job) -> None:
        jobs.append(job)
        policy(job)

    play(task.id, task.seed, noted, UNKNOWN)
    return [(tool, arguments) for tool, arguments in jobs[0].calls if not TOOLS.effect(tool).reads_only]


def joined(calls: Sequence[Call]) -> Iterator[Call]:
    """Yield the calls with as few calls of `run_steps` as there can be: calls may be cut anywhere."""
    most, steps = int(LIMITS["num_steps"].high), 0
    for tool, arguments in (*calls, ("", {})):
        if tool == "run_steps":
            steps += arguments["num_steps"]
            continue
        while steps:
            yield "run_steps", {"num_steps": min(most, steps)}
            steps -= min(most, steps)
        if tool:
            yield tool, arguments


def nothing(job: Job) -> None:
    """Let it run."""


if __name__ == "__main__":
    main()
