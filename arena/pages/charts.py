"""Charts of a competition's scores as values. A template draws them."""

import datetime as dt
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ml_trainer_env.arena.leaderboard.service import Entry

__all__ = ["Chart", "Earlier", "charts_of"]

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 16, 48
"""Margins, which have the ticks."""

_TICKS = 5
MB = 2**20


@dataclass(frozen=True, slots=True)
class Dot:
    """An evaluation of an agent. `x` and `y` are where it is drawn.

    `kind` is `agent`, `benchmark` (a yardstick) or `earlier` (another evaluation counts now).
    """

    x: float
    y: float
    label: str
    kind: str


@dataclass(frozen=True, slots=True)
class Earlier:
    """An evaluation of an agent whose score no longer counts. `at` is when it was finished, in seconds since 1970."""

    entry: Entry
    at: float
    mean: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis. `at` is where it is drawn."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, WIDTH by HEIGHT.

    Attributes:
        title: What it shows.
        x_title: What the horizontal axis shows. The vertical axis shows the score.
        dots: The agents.
        line: Points of the line of the best score so far, `x,y x,y`; empty for none.
        x_ticks: Marks of the horizontal axis.
        y_ticks: Marks of the vertical axis.
    """

    title: str
    x_title: str
    dots: tuple[Dot, ...]
    line: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def charts_of(
    entries: Sequence[Entry], earlier: Sequence[Earlier] = (), *, lower_is_better: bool = False
) -> list[Chart]:
    """Draw the scores over time, against the time of a run, and against memory. Empty without agents.

    Args:
        entries: The ranked agents of a competition.
        earlier: Their earlier evaluations, which are drawn over time.
        lower_is_better: Whether a lower score is better.
    """
    dated = [_Point(one.scored_at, one.mean, one) for one in entries if one.scored_at is not None]
    dated += [_Point(one.at, one.mean, one.entry, is_earlier=True) for one in earlier]
    timed = [_Point(one.max_run_s, one.mean, one) for one in entries if one.max_run_s is not None]
    sized = [_Point(one.max_ram_bytes / MB, one.mean, one) for one in entries if one.max_ram_bytes is not None]
    wanted: list[tuple[str, str, list[_Point], Callable[[float], str], int]] = [
        ("Score over time", "graded at (UTC)", dated, _date, -1 if lower_is_better else 1),
        ("Score against time", "longest run in seconds", timed, _number, 0),
        ("Score against memory", "most memory in MB", sized, _number, 0),
    ]
    return [_chart(*one) for one in wanted if one[2]]


@dataclass(frozen=True, slots=True)
class _Point:
    """A score of an agent at a place of the horizontal axis."""

    x: float
    score: float
    entry: Entry
    is_earlier: bool = False

    @property
    def kind(self) -> str:
        if self.is_earlier:
            return "earlier"
        return "benchmark" if self.entry.is_benchmark else "agent"


def _chart(title: str, x_title: str, points: list[_Point], label: Callable[[float], str], sign: int) -> Chart:
    """Draw a chart. `sign` is 1 for a line of the highest score so far, -1 for the lowest, and 0 for no line."""
    points = sorted(points, key=lambda point: point.x)
    low, high = _range([point.x for point in points])
    bottom, top = _range([point.score for point in points])

    def at(x: float) -> float:
        return round(LEFT + (x - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    def height(score: float) -> float:
        return round(HEIGHT - BOTTOM - (score - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM), 1)

    def named(point: _Point) -> str:
        whose = f"{point.entry.name} by {point.entry.user_name}"
        return f"{whose}: {point.score:.4f}, {label(point.x)}{', an earlier evaluation' if point.is_earlier else ''}"

    dots = tuple(Dot(at(point.x), height(point.score), named(point), point.kind) for point in points)
    steps: list[str] = []
    best = -sign * math.inf if sign else 0.0
    for point in points if sign else []:
        if sign * point.score > sign * best:
            steps += [f"{at(point.x)},{height(best)}"] if steps else []
            best = point.score
            steps.append(f"{at(point.x)},{height(best)}")
    if steps:
        steps.append(f"{WIDTH - RIGHT},{height(best)}")
    x_ticks = tuple(Tick(at(x), label(x)) for x in _spread(low, high))
    y_ticks = tuple(Tick(height(score), f"{score:.3g}") for score in _spread(bottom, top))
    return Chart(title, x_title, dots, " ".join(steps), x_ticks, y_ticks)


def _range(values: list[float]) -> tuple[float, float]:
    """Get a range that has the values inside."""
    low, high = min(values), max(values)
    margin = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return low - margin, high + margin


def _spread(low: float, high: float) -> list[float]:
    return [low + (high - low) * (number + 0.5) / _TICKS for number in range(_TICKS)]


def _date(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%m-%d %H:%M")


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
