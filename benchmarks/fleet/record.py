"""Plays of many tasks by many players, kept in a file of JSON lines, so that a benchmark goes on where it stopped."""

import json
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from local import references_of
from scipy.special import stdtrit

from ml_trainer_env.server.fleet.draw import DRAWN_COUNTS
from ml_trainer_env.server.fleet.scoring import References, score
from ml_trainer_env.server.fleet.tasks import find_task

__all__ = ["NOTHING", "Record", "drawn_tasks", "interval", "play_missing"]

REFERENCES = "references"
NOTHING = "nothing"
"""The player that does nothing. Its play is one of the references, and is not played again."""

Case = tuple[str, int, tuple[str, ...], dict[str, Any] | None]
"""A task, a seed, the players that are to play it, and its references if they are known."""

PlayOne = Callable[[str, str, int, dict[str, float]], dict[str, Any]]
"""Lets a player play a task with a seed and known references, and returns what came of it: at least the `score`."""


class Record:
    """What was played: rows with `agent` (the player), `task`, `seed` and what came of it.

    Args:
        path: The file.

    Attributes:
        rows: The rows by player, task and seed.
    """

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

    def of(self, name: str, plays: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
        """Return the rows of a player that are there, of some tasks with their seeds."""
        return [self.rows[name, task, seed] for task, seed in plays if (name, task, seed) in self.rows]


def drawn_tasks(split: str, first: int, count: int) -> list[tuple[str, int]]:
    """Return tasks of a split with their default seeds, as many as there are."""
    ids = [f"fleet/{split}/{index}" for index in range(first, min(first + count, DRAWN_COUNTS[split]))]
    return [(task, find_task(task).seed) for task in ids]


def play_missing(record: Record, cases: Sequence[Case], play_one: PlayOne, processes: int) -> Iterator[dict[str, Any]]:
    """Play what the record does not have, add it, and yield each play of a player."""
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for rows in pool.map(partial(_played, play_one), [case for case in cases if case[2]]):
            for row in rows:
                record.add(row)
                if row["agent"] != REFERENCES:
                    yield row


def interval(values: Sequence[float]) -> str:
    """The mean and half the width of its 95 % interval (Student's t)."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:.3f}"
    return f"{mean:.3f} ± {stdtrit(len(values) - 1, 0.975) * statistics.stdev(values) / math.sqrt(len(values)):.3f}"


def _played(play_one: PlayOne, case: Case) -> list[dict[str, Any]]:
    """Train the references of a task, unless they are known, and let players play it."""
    task, seed, names, references = case
    incidents = [incident.value for incident in find_task(task).setup(seed).incidents]
    about = {"task": task, "seed": seed, "incidents": incidents}
    rows = []
    if references is None:
        references = {"agent": REFERENCES, **about, **references_of(task, seed)}
        rows.append(references)
    known = {key: references[key] for key in ("nothing_loss", "clean_loss")}
    for name in names:
        found = _nothing(known) if name == NOTHING else play_one(name, task, seed, known)
        rows.append({"agent": name, **about, **found})
    return rows


def _nothing(references: dict[str, float]) -> dict[str, Any]:
    loss = references["nothing_loss"]
    return {"score": score(loss, References(**references)), "held_out_loss": loss, "calls": 0, "acts": []}
