"""The steps of a run as rows, and what monitoring shows of them."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TypeVar

from ml_trainer_env.server.episodes.tools import Reply
from ml_trainer_env.server.trainer.figures import Figures
from ml_trainer_env.server.trainer.fleet.clock import StepTimes, memory_mb, step_times
from ml_trainer_env.server.trainer.fleet.faults import Place
from ml_trainer_env.server.trainer.fleet.figures import batch_loss, rank_norm
from ml_trainer_env.server.trainer.fleet.places import places_of
from ml_trainer_env.server.trainer.fleet.settings import StepSettings

__all__ = ["By", "Metric", "Reduction", "StepRow", "query", "shown", "spread"]

Value = TypeVar("Value")

SERIES_POINTS = 40
"""The most points of a series."""

_DIGITS = 4


class Metric(StrEnum):
    """What monitoring records of every step."""

    LOSS = "loss"
    GRAD_NORM = "grad_norm"
    COMPUTE_S = "compute_s"
    DATA_S = "data_s"
    WAIT_S = "wait_s"
    STEP_S = "step_s"
    MEMORY_GB = "memory_gb"
    SKIPPED = "skipped"
    LEARNING_RATE = "learning_rate"
    LOSS_SCALE = "loss_scale"


class By(StrEnum):
    """What a metric is grouped by."""

    TOTAL = "total"
    RANK = "rank"
    NODE = "node"
    SHARD = "shard"


class Reduction(StrEnum):
    """What becomes of the values of a group."""

    MEAN = "mean"
    MAX = "max"
    LAST = "last"
    SERIES = "series"


@dataclass(frozen=True, eq=False)
class StepRow:
    """A step of the run.

    Attributes:
        seed: Seed of weights, data and noise.
        step: Number of steps before it.
        settings: The settings that it was taken with.
        begun_us: Virtual time of the steps before it, without the time of actions.
        now_us: Virtual time after it, with the time of actions.
        figures: Its figures.
    """

    seed: int
    step: int
    settings: StepSettings
    begun_us: int
    now_us: int
    figures: Figures

    @property
    def incarnation(self) -> int:
        """Number of restarts before it."""
        return self.settings.cluster.incarnation

    @cached_property
    def places(self) -> list[list[Place]]:
        """The places of the batches, by rank."""
        scale = float(self.figures["loss_scale"] or 1.0)
        return places_of(self.seed, self.step, self.begun_us, scale, self.settings)

    @cached_property
    def times(self) -> StepTimes:
        """How long it took."""
        return step_times(self.settings, self.places)

    def number(self, name: str) -> float:
        """Return a figure. NaN if it is missing."""
        value = self.figures[name]
        return math.nan if value is None else float(value)

    def total(self, metric: Metric) -> float:
        """Return a metric of the whole step: of ranks the mean, of times and memory the most."""
        if metric in _TOTALS:
            return self.number(_TOTALS[metric])
        if metric is Metric.STEP_S:
            return self.times.step_us / 1e6
        return max(value for _, value in self.values(metric))

    def values(self, metric: Metric) -> list[tuple[Place, float]]:
        """Return a metric of each batch, with its place. What belongs to a rank is told with each of its batches."""
        ranks = [(place, rank) for rank, own in enumerate(self.places) for place in own]
        if metric is Metric.LOSS:
            return [(place, self.number(batch_loss(batch))) for batch, (place, _) in enumerate(ranks)]
        of_rank = _OF_RANK.get(metric)
        if of_rank is None:
            return [(place, self.total(metric)) for place, _ in ranks]
        return [(place, of_rank(self, rank)) for place, rank in ranks]


_TOTALS = {
    Metric.LOSS: "loss",
    Metric.GRAD_NORM: "gradient_norm",
    Metric.SKIPPED: "skipped",
    Metric.LEARNING_RATE: "learning_rate",
    Metric.LOSS_SCALE: "loss_scale",
}

_OF_RANK: dict[Metric, Callable[[StepRow, int], float]] = {
    Metric.GRAD_NORM: lambda row, rank: row.number(rank_norm(rank)),
    Metric.COMPUTE_S: lambda row, rank: row.times.compute_us[rank] / 1e6,
    Metric.DATA_S: lambda row, rank: row.times.data_us[rank] / 1e6,
    Metric.WAIT_S: lambda row, rank: row.times.wait_us[rank] / 1e6,
    Metric.MEMORY_GB: lambda row, rank: memory_mb(row.settings, row.places[rank][0]) / 1e3,
}


def query(rows: Sequence[StepRow], metric: Metric, by: By, reduction: Reduction) -> Reply:
    """Return a metric of some steps.

    Returns:
        `steps`: the first and the last step. `values`: by group (one group, "total", for the whole), a number; or the
        greatest with its step; or a series with the step of each point.
    """
    groups: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for name, value in _grouped(row, metric, by):
            groups.setdefault(name, []).append((row.step, value))
    reduce = _REDUCTIONS[reduction]
    names = sorted(groups, key=lambda name: (len(name), name))
    return {
        "steps": [rows[0].step, rows[-1].step] if rows else [],
        "values": {name: reduce(groups[name]) for name in names},
    }


def shown(value: float) -> float | None:
    """Return a figure with 4 significant digits. None if it is not finite."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def spread(values: Sequence[Value], most: int) -> list[Value]:
    """Return at most so many of the values, spread evenly, the last one among them."""
    last, count = len(values) - 1, min(len(values), most)
    return [values[last - last * back // max(1, count - 1)] for back in reversed(range(count))]


def _grouped(row: StepRow, metric: Metric, by: By) -> Iterable[tuple[str, float]]:
    if by is By.TOTAL:
        return [("total", row.total(metric))]
    return [(str(getattr(place, by.value)), value) for place, value in row.values(metric)]


def _mean(points: Sequence[tuple[int, float]]) -> float | None:
    return shown(statistics.fmean(value for _, value in points))


def _greatest(points: Sequence[tuple[int, float]]) -> list[float | None]:
    """Return the greatest value and its step. What is not a number is greater than all numbers."""
    step, value = max(points, key=lambda point: math.inf if math.isnan(point[1]) else point[1])
    return [shown(value), step]


def _last(points: Sequence[tuple[int, float]]) -> float | None:
    return shown(points[-1][1])


def _series(points: Sequence[tuple[int, float]]) -> list[list[float | None]]:
    """Return at most `SERIES_POINTS` pairs of a step and a value."""
    return [[step, shown(value)] for step, value in spread(points, SERIES_POINTS)]


_REDUCTIONS: dict[Reduction, Callable[[Sequence[tuple[int, float]]], object]] = {
    Reduction.MEAN: _mean,
    Reduction.MAX: _greatest,
    Reduction.LAST: _last,
    Reduction.SERIES: _series,
}
