"""Policies that do not look: do they gain anything?

    python benchmarks/fleet/blind.py --clean 3 --tasks 40

On clean runs none may be better than doing nothing by more than the noise, and over drawn tasks none may be better
than the script that restarts and halves the rate; `agents.py` measures that one. A play takes about 6 CPU seconds.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from local import Job, play, references_of

from ml_trainer_env.server.fleet import tasks
from ml_trainer_env.server.fleet.incidents import Incident

CLEAN = "lone/clean"
Policy = Callable[[Job], None]


def nothing(job: Job) -> None:
    """Let it run."""


def at_start(**changes: object) -> Policy:
    def policy(job: Job) -> None:
        job.call("set_training", **changes)

    return policy


def at_step(step: int, tool: str, **arguments: object) -> Policy:
    def policy(job: Job) -> None:
        job.to_step(step)
        job.call(tool, **arguments)

    return policy


def restart_each(seconds: float) -> Policy:
    def policy(job: Job) -> None:
        at = seconds
        while not job.done:
            job.to_time(at)
            if not job.done:
                job.call("restart", checkpoint="newest")
            at += seconds

    return policy


def broadcast_each(seconds: float) -> Policy:
    def policy(job: Job) -> None:
        at = seconds
        while not job.done:
            job.to_time(at)
            if not job.done:
                job.call("broadcast", from_rank=0)
            at += seconds

    return policy


def decay_early(job: Job) -> None:
    for step, rate in ((150, 0.03), (200, 0.02), (250, 0.01)):
        job.to_time(step * 1.15)
        if not job.done:
            job.call("set_training", learning_rate=rate)


def guards(job: Job) -> None:
    job.call("set_training", clip_norm=1.0, skip_nonfinite=True, dynamic_loss_scale=True, checkpoint_every=15)


BLIND: dict[str, Policy] = {
    "nothing": nothing,
    "half the rate": at_start(learning_rate=0.02),
    "three quarters of the rate": at_start(learning_rate=0.03),
    "one and a half the rate": at_start(learning_rate=0.06),
    "twice the rate": at_start(learning_rate=0.08),
    "clip to 0.2": at_start(clip_norm=0.2),
    "clip to 1": at_start(clip_norm=1.0),
    "skip what is not finite": at_start(skip_nonfinite=True),
    "dynamic loss scale": at_start(dynamic_loss_scale=True),
    "all guards": guards,
    "save every 10 steps": at_start(checkpoint_every=10),
    "save every 100 steps": at_start(checkpoint_every=100),
    "no warm-up": at_start(schedule_position=80),
    "half of the rate from step 150": at_step(150, "set_training", learning_rate=0.02),
    "decay early": decay_early,
    "restart every 100 s": restart_each(100),
    "broadcast every 30 s": broadcast_each(30),
    "drain a node": at_step(60, "set_node", node=3, action="drain"),
    "replace a node": at_step(60, "set_node", node=3, action="replace"),
    "quarantine a shard": at_step(60, "set_shard", shard=5, action="quarantine"),
    "submit at step 200": at_step(200, "submit_model"),
}
"""The policies, by name: doing nothing and twenty others."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clean", type=int, default=3, help="seeds of clean runs (default: %(default)s)")
    parser.add_argument("--tasks", type=int, default=40, help="tasks of the validation split (default: %(default)s)")
    parser.add_argument("--policies", nargs="+", default=list(BLIND), help="for drawn tasks (default: all)")
    parser.add_argument("--processes", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--record", type=Path, default=Path("blind.jsonl"), help="default: %(default)s")
    given = parser.parse_args()
    known = {(one["task"], one["seed"]) for one in read(given.record)}
    cases = [(CLEAN, seed, list(BLIND)) for seed in range(given.clean)]
    cases += [
        (task.id, task.seed, given.policies)
        for task in (tasks.task_at("validation", index) for index in range(given.tasks))
    ]
    with ProcessPoolExecutor(given.processes, get_context("spawn")) as pool, given.record.open("a") as file:
        for found in pool.map(measured, [case for case in cases if case[:2] not in known]):
            file.write(json.dumps(found) + "\n")
            file.flush()
    rows = read(given.record)
    print("| policy | clean: loss above doing nothing | score on drawn tasks |\n|---|---|---|")
    for name in BLIND:
        losses = [one["losses"][name] - one["losses"]["nothing"] for one in rows if one["task"] == CLEAN]
        scores = [one["scores"][name] for one in rows if one["task"] != CLEAN and name in one["scores"]]
        print(f"| {name} | {spread(losses)} | {spread(scores)} |")


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def measured(case: tuple[str, int, list[str]]) -> dict[str, object]:
    """Return loss and score of each policy."""
    task, seed, names = case
    tasks.NAMED_TASKS.setdefault(
        CLEAN, tasks.FleetTask(CLEAN, "lone", 0, "clean", "", "lone", "clean", Incident.NOTHING)
    )
    references = references_of(task, seed)
    last = {name: play(task, seed, BLIND[name], references) for name in names}
    return {
        "task": task,
        "seed": seed,
        "losses": {name: one["held_out_loss"] for name, one in last.items()},
        "scores": {name: one["score"] for name, one in last.items()},
    }


def spread(values: list[float]) -> str:
    if not values:
        return "-"
    deviation = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.3f} ({1.96 * deviation:.3f})"


if __name__ == "__main__":
    main()
