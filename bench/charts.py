"""The charts of a comparison in its report: values are told where one points, without a script."""

from collections.abc import Callable, Mapping

import numpy as np

from ml_trainer_env.baselines.charts import (
    Interval,
    Line,
    Series,
    heat_chart,
    interval_chart,
    line_chart,
    scatter_chart,
)
from ml_trainer_env.bench.comparison import Comparison
from ml_trainer_env.bench.games import find_game
from ml_trainer_env.bench.statistics import Estimate
from ml_trainer_env.bench.tables import Column

__all__ = ["CHARTS"]

_SIGNIFICANT = 0.05
_SCORE, _P = Column(""), Column("", 4, "p")


def _scores(comparison: Comparison) -> str:
    ordered = sorted(comparison.standings, key=lambda one: -one.score.mean)
    rows = [_interval(one.agent, one.score) for one in ordered]
    return interval_chart("Mean score of each agent", "mean score, with its 95 % interval", rows)


def _differences(comparison: Comparison) -> str:
    ordered = sorted(comparison.differences, key=lambda one: -one.mean.mean)
    rows = [
        _interval(one.agent, one.mean, f", p (Holm) {_P.show(one.p_holm)}", is_filled=one.p_holm < _SIGNIFICANT)
        for one in ordered
    ]
    name = f"difference from {comparison.plan.baseline}; filled: p (Holm) < {_SIGNIFICANT}"
    return interval_chart("Paired difference of each agent from the baseline", name, rows, zero=True)


def _tiers(comparison: Comparison) -> str:
    tiers = comparison.tiers
    lines = []
    for place, agent in enumerate(comparison.plan.agents):
        found = [tier.scores[place] for tier in tiers]
        points = [(float(at), one.mean) for at, one in enumerate(found)]
        lines.append(Line(agent, points, [(one.low, one.high) for one in found]))
    labels = [(float(at), f"{tier.name} ({tier.tasks})") for at, tier in enumerate(tiers)]
    return line_chart(
        "Mean score of each agent by tier", "tier (number of tasks)", lines, x_labels=labels, has_table=False
    )


def _tasks(comparison: Comparison) -> str:
    order = np.argsort(-comparison.scores.mean(axis=1), kind="stable")
    columns = [comparison.tasks[index] for index in order]
    title = f"Score of each agent on each of {len(columns)} tasks, the best solved first"
    return heat_chart(title, comparison.plan.agents, columns, comparison.scores[order].T.tolist())


def _hidden(comparison: Comparison) -> str:
    game = find_game(comparison.plan.game)
    series = []
    for agent in comparison.plan.agents:
        known = [
            (row.seen, row.hidden, f"{agent} on {row.task}: {game.seen_name} {row.seen:.4g}, hidden {row.hidden:.4g}")
            for cell, row in comparison.rows.items()
            if cell.agent == agent and row.seen is not None and row.hidden is not None
        ]
        series.append(Series(agent, known))
    title = "What agents could see, beside the hidden figure"
    return scatter_chart(title, f"{game.seen_name} of the submitted model", game.hidden_name, series)


CHARTS: Mapping[str, Callable[[Comparison], str]] = {
    "scores": _scores,
    "differences": _differences,
    "tasks": _tasks,
    "tiers": _tiers,
    "hidden": _hidden,
}
"""The charts by name, as HTML. The chart of a table's name stands above the table."""


def _interval(name: str, one: Estimate, more: str = "", *, is_filled: bool = True) -> Interval:
    return Interval(name, one.mean, one.low, one.high, f"{name}: {_SCORE.show(one)}{more}", is_filled)
