"""The closing report of a ranked run: pure functions from its tasks and episodes to JSON and to text."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.special import stdtrit

from ml_trainer_env.server.store import RankedEpisode
from ml_trainer_env.server.tuning.families.ranked import RankedTasks
from ml_trainer_env.server.tuning.reference import FLOOR
from ml_trainer_env.server.tuning.tasks import Task

__all__ = ["mean_interval", "ranked_report", "report_text"]

Json = dict[str, Any]

_FIGURES = ("x", "submitted", "best", "default", "oracle")
_PLACES = 4


def ranked_report(tasks: RankedTasks, episodes: Mapping[str, RankedEpisode], version: str, closed_at: str) -> Json:
    """Return the report of a run as JSON.

    A task that was not begun, or whose episode has not ended, has the lowest score.

    Args:
        tasks: All tasks of the run.
        episodes: The episodes by task. Tasks that were not begun are not in it.
        version: Version of the package.
        closed_at: When the run was closed, as text.
    """
    rows = [_row(task, episodes.get(task.id)) for task in map(tasks.task_at, range(len(tasks)))]
    scores = [row["score"] for row in rows]
    return {
        "ranked": True,
        "run": tasks.run.key,
        "closed_at": closed_at,
        "server": version,
        **{name: value for name, value in tasks.run.facts.items() if name != "tasks"},
        "tasks": len(rows),
        "begun": len(episodes),
        "ended": sum(row["status"] == "ended" for row in rows),
        "mean_score": round(statistics.fmean(scores), _PLACES),
        "interval_95": mean_interval(scores),
        "scores": rows,
    }


def mean_interval(scores: Sequence[float]) -> list[float] | None:
    """Return the 95 % interval of a mean over tasks, by Student's t. None for fewer than two scores."""
    if len(scores) < 2:
        return None
    half = float(stdtrit(len(scores) - 1, 0.975)) * statistics.stdev(scores) / math.sqrt(len(scores))
    mean = statistics.fmean(scores)
    return [round(mean - half, _PLACES), round(mean + half, _PLACES)]


def report_text(report: Mapping[str, Any]) -> str:
    """Return a report as text: a headline and one line for each task."""
    interval = report["interval_95"]
    spread = f", 95 % interval over tasks {interval[0]:.4f} to {interval[1]:.4f}" if interval else ""
    origin = f"family version {report['family']}, table {report['table']}, server {report['server']}"
    lines = [
        f"ranked: mean score {report['mean_score']:.4f} over {report['tasks']} tasks{spread}",
        f"{report['begun']} begun, {report['ended']} ended; a task without a grade counts as {FLOOR:g}",
        f"{origin}, run {report['run']}, closed {report['closed_at']}",
        "",
        f"{'task':11} {'status':10} {'score':>8} " + " ".join(f"{name:>9}" for name in (*_FIGURES, "deviation")),
    ]
    for row in report["scores"]:
        figures = " ".join(_number(row[name]) for name in (*_FIGURES, "deviation"))
        lines.append(f"{row['task']:11} {row['status']:10} {row['score']:8.4f} {figures}  {row['name']}")
    return "\n".join(lines)


def _row(task: Task, episode: RankedEpisode | None) -> Json:
    assert task.reference is not None
    withheld = episode.withheld if episode else None
    references = {"default": task.reference.default, "oracle": task.reference.oracle}
    details = {**references, **(withheld or {}).get("details", {})}
    return {
        "task": task.id,
        "name": task.name,
        "group": task.group,
        "status": "not begun" if episode is None else "unfinished" if withheld is None else "ended",
        "episode": episode.name if episode else None,
        "epochs": episode.epochs if episode else 0,
        "budget_epochs": task.budget_epochs,
        "score": FLOOR if withheld is None else withheld["score"],
        **{name: details.get(name) for name in _FIGURES},
        "deviation": task.reference.deviation,
    }


def _number(value: float | None) -> str:
    return f"{'-':>9}" if value is None else f"{value:9.4f}"
