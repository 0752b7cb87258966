"""Draws each incident: training loss by virtual time, with nobody acting, repaired, and without faults.

    python benchmarks/fleet/curves.py docs/images/fleet-incidents.png

Takes about six CPU minutes.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from answers import ANSWERS
from local import Job, lone_task, play

from ml_trainer_env.server.fleet.incidents import Incident
from ml_trainer_env.server.trainer.figures import Figures

SEED = 0
COLUMNS = 4
MEAN_OF = 5
UNKNOWN: Figures = {"nothing_loss": 0.0, "clean_loss": 0.0}
"""The score is not drawn, so the references are not trained."""

Curve = tuple[list[float], list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("--processes", type=int, default=2, help="default: %(default)s")
    given = parser.parse_args()
    incidents = list(ANSWERS)
    with ProcessPoolExecutor(given.processes, get_context("spawn")) as pool:
        clean, *drawn = pool.map(curves_of, [Incident.NOTHING, *incidents])
    rows = -(-len(incidents) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(16, 2.6 * rows), sharex=True, sharey=True)
    for axis in axes.flat[len(incidents) :]:
        axis.set_axis_off()
    for axis, incident, found in zip(axes.flat, incidents, drawn, strict=False):
        axis.plot(*clean["nothing"], color="0.75", lw=1.2, label="no faults")
        axis.plot(*found["nothing"], color="tab:red", lw=1.2, label="nobody acts")
        axis.plot(*found["right"], color="tab:blue", lw=1.2, label="repaired")
        for begin in found["begins"]:
            axis.axvline(begin, color="tab:red", lw=0.8, ls=":")
        axis.set_title(incident.value.replace("_", " "), fontsize=10)
        axis.set_ylim(1.6, 4.7)
    axes.flat[0].legend(fontsize=8)
    figure.supxlabel("virtual time in seconds")
    figure.supylabel("training loss in nats a character, mean of 5 steps")
    figure.tight_layout(rect=(0.02, 0, 1, 1))
    figure.savefig(given.picture, dpi=80)


def curves_of(incident: Incident) -> dict[str, Any]:
    """Return the curves of an incident, and when its faults begin."""
    task = lone_task(incident.value, incident)
    found: dict[str, Any] = {}
    right = ANSWERS[incident].right if incident in ANSWERS else nothing
    for name, policy in (("nothing", nothing), ("right", right)):
        jobs: list[Job] = []

        def noted(job: Job, policy: Any = policy, jobs: list[Job] = jobs) -> None:
            jobs.append(job)
            policy(job)

        play(task, SEED, noted, UNKNOWN)
        run = jobs[0].episode.run
        found[name] = smoothed([row.now_us / 1e6 for row in run.rows], [row.number("loss") for row in run.rows])
        found["begins"] = begins_of(run.scenario.faults)
    return found


def nothing(job: Job) -> None:
    """Let it run."""


def smoothed(times: list[float], losses: list[float]) -> Curve:
    """Return running means. Losses that are not finite are drawn at the top."""
    finite = np.nan_to_num(np.array(losses), nan=4.7, posinf=4.7)
    means = np.convolve(finite, np.ones(MEAN_OF) / MEAN_OF, "valid")
    return times[MEAN_OF - 1 :], means.tolist()


def begins_of(faults: Any) -> list[float]:
    """Return the moments at which faults begin or strike, in seconds."""
    found: list[float] = []
    for fault in faults:
        for field in fields(fault):
            value = getattr(fault, field.name)
            if field.name == "begins_us":
                found.append(value / 1e6)
            elif field.name == "moments_us":
                found += [moment / 1e6 for moment in value]
            elif field.name in {"begins", "first", "position"} and value > 0:
                found.append(value * 1.2)
    return found


if __name__ == "__main__":
    main()
