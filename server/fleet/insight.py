"""What follows from a run besides the figures of its units: times, nodes and losses by rank, and events.

It is a pure function of the run's steps, the one that the episode answers `query_metrics` by. So it is the same for an
episode that is open and for one that is replayed from its journal.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence

from ml_trainer_env.server.fleet.events import Event
from ml_trainer_env.server.fleet.rows import Metric, StepRow
from ml_trainer_env.server.fleet.run import FleetRun

__all__ = ["BY_RANK", "OF_STEP", "events_of", "figure_of_rank", "figures_of", "rows_of_units"]

Figure = str

_OF_RANK: Mapping[Figure, Metric] = {
    "loss_of_rank": Metric.LOSS,
    "compute_s": Metric.COMPUTE_S,
    "data_s": Metric.DATA_S,
    "wait_s": Metric.WAIT_S,
}

_OF_STEP: Mapping[Figure, Callable[[StepRow], float]] = {
    "step_s": lambda row: row.total(Metric.STEP_S),
    "clock_s": lambda row: row.now_us / 1e6,
}


def figure_of_rank(figure: Figure, rank: int) -> str:
    """Return the name of a figure of a rank."""
    return f"{figure}/{rank}"


BY_RANK: tuple[Figure, ...] = (*_OF_RANK, "node")
"""Figures that each rank has: its loss, its times in seconds, and its node."""

OF_STEP: tuple[Figure, ...] = tuple(_OF_STEP)
"""Figures of the whole step: its time, and the virtual time after it, in seconds."""


def figures_of(run: FleetRun, first: int, after: int) -> list[dict[str, float]]:
    """Return the figures of the units from index `first` to before `after`. None of a unit in which a rank stopped."""
    return [{} if row is None else _figures(row) for row in rows_of_units(run)[first:after]]


def events_of(run: FleetRun) -> list[tuple[int, Event]]:
    """Return what the logs tell by now, with the number of units before it, in the order of virtual time."""
    notices = [Event(one.clock_us, one.text) for one in run.scenario.notices if one.clock_us <= run.now_us]
    ends, now_us = [], 0
    for row in rows_of_units(run):
        now_us = now_us if row is None else row.now_us
        ends.append(now_us)
    found = sorted((*run.events, *notices), key=lambda event: event.clock_us)
    return [(bisect_right(ends, event.clock_us), event) for event in found]


def rows_of_units(run: FleetRun) -> Sequence[StepRow | None]:
    """Return the step of each unit. None of a unit in which a rank stopped.

    It may be called in a thread while the run goes on: of the unit that is being added there may be no step yet.
    """
    units, rows = tuple(run.units), iter(run.rows)
    return [next(rows, None) if unit.figures["stopped"] is None else None for unit in units]


def _figures(row: StepRow) -> dict[str, float]:
    found = {name: value_of(row) for name, value_of in _OF_STEP.items()}
    found |= {figure_of_rank("node", own[0].rank): own[0].node for own in row.places}
    for name, metric in _OF_RANK.items():
        values: list[list[float]] = [[] for _ in row.places]
        for place, value in row.values(metric):
            values[place.rank].append(value)
        found |= {figure_of_rank(name, rank): sum(own) / len(own) for rank, own in enumerate(values)}
    return found
