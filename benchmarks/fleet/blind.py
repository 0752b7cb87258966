"""Policies that do not look: do they gain anything?

    python benchmarks/fleet/blind.py --clean 3 --tasks 40 --record blind.jsonl

None may be better than doing nothing by more than the noise, neither on clean runs nor over drawn tasks. The last
column has the mean of the differences, task by task. What the record has already is not played again. A play takes
about 6 CPU seconds, the references of a task 12.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from local import Job, lone_task, play
from record import NOTHING, Record, drawn_tasks, interval, play_missing

from ml_trainer_env.server.fleet.incidents import Incident

CLEAN = lone_task("clean", Incident.NOTHING)
Policy = Callable[[Job], None]


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
"""The policies, by name."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clean", type=int, default=3, help="seeds of clean runs (default: %(default)s)")
    parser.add_argument("--tasks", type=int, default=40, help="tasks of the validation split (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="index of the first one (default: %(default)s)")
    parser.add_argument("--policies", nargs="+", choices=list(BLIND), default=list(BLIND), help="default: all")
    parser.add_argument("--processes", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--record", type=Path, default=Path("blind.jsonl"), help="default: %(default)s")
    given = parser.parse_args()
    names, record = list(dict.fromkeys([NOTHING, *given.policies])), Record(given.record)
    clean = [(CLEAN, seed) for seed in range(given.clean)]
    drawn = drawn_tasks("validation", given.first, given.tasks)
    cases = [record.missing(task, seed, names) for task, seed in (*drawn, *clean)]
    for row in play_missing(record, cases, result, given.processes):
        print(f"{row['agent']:30} {row['task']} {row['score']:.3f} {' '.join(row['incidents'])}", flush=True)
    print("\n| policy | clean runs: loss above doing nothing | drawn tasks | score | above doing nothing |")
    print("|---|---|---|---|---|")
    for name in names:
        scores = [row["score"] for row in record.of(name, drawn)]
        losses, gains = above_nothing(record, name, clean, "held_out_loss"), above_nothing(record, name, drawn, "score")
        told = [f"{len(scores)}", *(interval(values) if values else "-" for values in (scores, gains))]
        print(f"| {name} | {interval(losses) if losses else '-'} | {' | '.join(told)} |")


def above_nothing(record: Record, name: str, plays: Sequence[tuple[str, int]], figure: str) -> list[float]:
    """Return how far a figure of a policy is above that of doing nothing, by task."""
    found = []
    for one_play in plays:
        policy, nothing = record.of(name, [one_play]), record.of(NOTHING, [one_play])
        found += [one[figure] - other[figure] for one, other in zip(policy, nothing, strict=False)]
    return found


def result(name: str, task: str, seed: int, references: dict[str, float]) -> dict[str, Any]:
    """Let a policy play a task, and return what came of it."""
    last = play(task, seed, BLIND[name], references)
    return {key: last[key] for key in ("score", "held_out_loss")}


if __name__ == "__main__":
    main()
