"""When the faults of an episode of the fleet began, and which calls act: what charts mark."""

from collections.abc import Iterable, Iterator, Mapping

__all__ = ["ACTIONS", "begin_times"]

ACTIONS = frozenset(("restart", "set_training", "set_node", "set_shard", "broadcast", "inspect"))
"""The calls that act or cost time."""

_STEP_S = 1.2
"""About the virtual time of a step, checkpoints included: for faults that begin at a position in the data."""


def begin_times(faults: Iterable[Mapping[str, object]]) -> list[tuple[float, str]]:
    """Return when each fault began, in virtual seconds, with its kind. What is there from the start began at 0."""
    return sorted((moment, str(fault["kind"])) for fault in faults for moment in _moments(fault))


def _moments(fault: Mapping[str, object]) -> Iterator[float]:
    for name in ("begins_s", "clock_s"):
        if isinstance(found := fault.get(name), int | float):
            yield float(found)
            return
    if isinstance(moments := fault.get("moments_s"), list | tuple):
        yield from map(float, moments)
        return
    for name in ("begins", "first", "position"):
        if isinstance(found := fault.get(name), int | float) and found >= 0:
            yield float(found) * _STEP_S
            return
    yield 0.0
