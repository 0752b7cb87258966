"""The figures of a comparison as PNG. They have no background, so that they fit light and dark pages."""

import io
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ml_trainer_env.bench.comparison import Comparison
from ml_trainer_env.bench.games import find_game
from ml_trainer_env.bench.statistics import Estimate

__all__ = ["FIGURES", "Draw"]

Draw = Callable[[Comparison], bytes]

_INK = "#7d8590"
_GAIN, _LOSS = "#2f81f7", "#d29922"
_COLOURS = ("#2f81f7", "#d29922", "#3fb950", "#db61a2", "#a371f7", "#e5534b", "#39c5cf", "#9a8c7a")
"""Of the agents. Beyond eight they begin again, with other marks."""
_MARKS = ("o", "s", "^", "D")
_SIGNIFICANT = 0.05
_WIDTH = 5.8
"""Of a figure, in inches: narrow, so that its text can be read on a phone, too."""


def draw_scores(comparison: Comparison) -> bytes:
    """Draw the mean score of each agent with its interval, the best on top."""
    ordered = sorted(comparison.standings, key=lambda one: one.score.mean)
    figure, axes = _figure(height=0.7 + 0.34 * len(ordered))
    for place, one in enumerate(ordered):
        _draw_estimate(axes, place, one.score, _GAIN)
    _name_rows(axes, [one.agent for one in ordered])
    axes.set_xlabel("mean score, with its 95 % interval")
    return _png(figure)


def draw_differences(comparison: Comparison) -> bytes:
    """Draw the difference of each agent from the baseline. A filled mark: significant after the correction."""
    ordered = sorted(comparison.differences, key=lambda one: one.mean.mean)
    figure, axes = _figure(height=0.8 + 0.34 * max(1, len(ordered)))
    for place, one in enumerate(ordered):
        colour = _GAIN if one.mean.mean >= 0 else _LOSS
        _draw_estimate(axes, place, one.mean, colour, filled=one.p_holm < _SIGNIFICANT)
    axes.axvline(0.0, color=_INK, linewidth=1.2, linestyle="--")
    _name_rows(axes, [one.agent for one in ordered])
    axes.set_xlabel(f"difference from {comparison.plan.baseline}; filled: p (Holm) < {_SIGNIFICANT}")
    return _png(figure)


def draw_tiers(comparison: Comparison) -> bytes:
    """Draw the mean score of each agent by tier."""
    tiers = comparison.tiers
    figure, axes = _figure(height=3.2)
    count = len(comparison.plan.agents)
    for place, (colour, mark, agent) in enumerate(_styles(comparison)):
        shift = (place - (count - 1) / 2) * 0.6 / max(count, 1)
        found = [tier.scores[place] for tier in tiers]
        means = np.array([one.mean for one in found])
        ends = np.array([[_length(one.mean, one.low), _length(one.high, one.mean)] for one in found]).reshape(-1, 2).T
        xs = np.arange(len(tiers)) + shift
        axes.errorbar(
            xs, means, yerr=ends, fmt=f"{mark}-", color=colour, markersize=5, linewidth=0.8, elinewidth=1.2, label=agent
        )
    axes.set_xticks(range(len(tiers)), [f"{tier.name}\n({tier.tasks})" for tier in tiers])
    axes.set_xlabel("tier (number of tasks)")
    axes.set_ylabel("mean score")
    _legend(figure, axes)
    return _png(figure)


def draw_tasks(comparison: Comparison) -> bytes:
    """Draw the score of each agent on each task as colours. Tasks are sorted by their mean."""
    order = np.argsort(-comparison.scores.mean(axis=1), kind="stable")
    figure, axes = _figure(height=1.1 + 0.3 * len(comparison.plan.agents))
    shown = comparison.scores[order].T
    image = axes.imshow(
        shown,
        aspect="auto",
        cmap="viridis",
        vmin=min(0.0, float(shown.min(initial=0.0))),
        vmax=max(1.0, float(shown.max(initial=0.0))),
    )
    axes.set_yticks(range(len(comparison.plan.agents)), comparison.plan.agents)
    axes.set_xlabel(f"{len(comparison.tasks)} tasks, the best solved first")
    axes.set_xticks([])
    axes.grid(visible=False)
    bar = figure.colorbar(image, ax=axes, pad=0.01)
    bar.set_label("score", color=_INK)
    bar.ax.tick_params(colors=_INK)
    bar.outline.set_edgecolor(_INK)
    return _png(figure)


def draw_hidden(comparison: Comparison) -> bytes:
    """Draw the hidden figure over the one that the agent could see: a mark for each play."""
    game = find_game(comparison.plan.game)
    figure, axes = _figure(height=4.0)
    values: list[float] = []
    for colour, mark, agent in _styles(comparison):
        rows = [row for cell, row in comparison.rows.items() if cell.agent == agent]
        known = [(row.seen, row.hidden) for row in rows if row.seen is not None and row.hidden is not None]
        values += [value for pair in known for value in pair]
        axes.plot(*np.array(known).reshape(-1, 2).T, mark, color=colour, markersize=4.5, alpha=0.8, label=agent)
    if values:
        ends = (min(values), max(values))
        axes.plot(ends, ends, color=_INK, linewidth=1, linestyle="--")
    axes.set_xlabel(f"{game.seen_name} of the submitted model")
    axes.set_ylabel(game.hidden_name)
    _legend(figure, axes)
    return _png(figure)


FIGURES: Mapping[str, tuple[str, Draw]] = {
    "scores": ("Mean score of each agent with its interval", draw_scores),
    "differences": ("Paired difference of each agent from the baseline", draw_differences),
    "tasks": ("Score of each agent on each task", draw_tasks),
    "tiers": ("Mean score of each agent by tier", draw_tiers),
    "hidden": ("What agents could see, beside the hidden figure", draw_hidden),
}
"""The figures by name: what each shows, and what draws it."""


def _figure(height: float, width: float = _WIDTH) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    figure.patch.set_alpha(0.0)
    axes = figure.subplots()
    axes.patch.set_alpha(0.0)
    axes.set_axisbelow(True)
    axes.grid(visible=True, color=_INK, alpha=0.2)
    axes.tick_params(colors=_INK)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)
    for spine in axes.spines.values():
        spine.set_color(_INK)
    return figure, axes


def _draw_estimate(axes: Axes, place: int, one: Estimate, colour: str, *, filled: bool = True) -> None:
    if math.isfinite(one.low):
        axes.plot([one.low, one.high], [place, place], color=colour, linewidth=2.2, solid_capstyle="round")
    face = colour if filled else "white"
    axes.plot([one.mean], [place], "o", markersize=8, markerfacecolor=face, markeredgecolor=colour, markeredgewidth=1.8)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, max(len(names), 1) - 0.4)


def _length(high: float, low: float) -> float:
    return max(0.0, high - low) if math.isfinite(high - low) else 0.0


def _styles(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Return colour, mark and name of each agent."""
    count = len(_COLOURS)
    return [
        (_COLOURS[place % count], _MARKS[(place // count) % len(_MARKS)], agent)
        for place, agent in enumerate(comparison.plan.agents)
    ]


def _legend(figure: Figure, axes: Axes) -> None:
    handles, names = axes.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles,
            names,
            loc="outside upper center",
            ncols=min(5, len(names)),
            frameon=False,
            labelcolor=_INK,
            fontsize=9,
        )


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
