"""Charts of a competition's scores as values. A template draws them."""

import datetime as dt
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ml_trainer_env.arena.leaderboard.service import Entry

__all__ = ["Chart", "charts_of"]

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 16, 48
"""Margins, which have the ticks."""

_TICKS = 5
MB = 2**20


@dataclass(frozen=True, slots=True)
class Dot:
    """An agent. `x` and `y` are where it is drawn."""

    x: float
    y: float
    label: str
    is_benchmark: bool


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


def charts_of(entries: Sequence[Entry]) -> list[Chart]:
    """Draw the scores over time, against the time of a run, and against memory. Empty without agents.

    Args:
        entries: The ranked agents of a competition.
    """
    dated = [(entry.scored_at, entry) for entry in entries if entry.scored_at is not None]
    timed = [(entry.max_run_s, entry) for entry in entries if entry.max_run_s is not None]
    sized = [(entry.max_ram_bytes / MB, entry) for entry in entries if entry.max_ram_bytes is not None]
    wanted: list[tuple[str, str, list[tuple[float, Entry]], Callable[[float], str], bool]] = [
        ("Score over time", "graded at (UTC)", dated, _date, True),
        ("Score against time", "longest run in seconds", timed, _number, False),
        ("Score against memory", "most memory in MB", sized, _number, False),
    ]
    return [_chart(*one) for one in wanted if one[2]]


def _chart(
    title: str, x_title: str, points: list[tuple[float, Entry]], label: Callable[[float], str], with_line: bool
) -> Chart:
    points = sorted(points, key=lambda point: point[0])
    low, high = _range([x for x, _ in points])
    bottom, top = _range([entry.mean for _, entry in points])

    def at(x: float) -> float:
        return round(LEFT + (x - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    def height(score: float) -> float:
        return round(HEIGHT - BOTTOM - (score - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM), 1)

    def named(x: float, entry: Entry) -> str:
        return f"{entry.name} by {entry.user_name}: {entry.mean:.4f}, {label(x)}"

    dots = tuple(Dot(at(x), height(entry.mean), named(x, entry), entry.is_benchmark) for x, entry in points)
    steps: list[str] = []
    best = -math.inf
    for x, entry in points if with_line else []:
        if entry.mean > best:
            steps += [f"{at(x)},{height(best)}"] if steps else []
            best = entry.mean
            steps.append(f"{at(x)},{height(best)}")
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
