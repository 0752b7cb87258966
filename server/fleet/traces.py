"""Where the faults of a run touched it, for a picture that is drawn after the end."""

from collections.abc import Sequence
from dataclasses import dataclass

from ml_trainer_env.server.fleet.insight import rows_of_units
from ml_trainer_env.server.fleet.run import FleetRun
from ml_trainer_env.server.trainer.fleet import faults
from ml_trainer_env.server.trainer.fleet.faults import Fault, Place
from ml_trainer_env.server.trainer.fleet.settings import RANKS

__all__ = ["Trace", "traces_of"]


@dataclass(frozen=True, slots=True)
class Trace:
    """Units one after another in which a fault touched a rank.

    Attributes:
        kind: The kind of the fault.
        rank: The rank.
        first: Index of the first unit.
        last: Index of the last one.
    """

    kind: str
    rank: int
    first: int
    last: int


def traces_of(run: FleetRun) -> list[Trace]:
    """Return where each fault touched a rank. What belongs to no rank leaves no trace."""
    rows = rows_of_units(run)
    found: list[Trace] = []
    for fault in run.scenario.faults:
        for rank in range(RANKS):
            places = [() if row is None or rank >= len(row.places) else row.places[rank] for row in rows]
            touched = [any(_is_at(fault, place) for place in own) for own in places]
            found += [Trace(fault.kind.value, rank, first, last) for first, last in _runs_of_true(touched)]
    return found


def _is_at(fault: Fault, place: Place) -> bool:
    """Whether a fault is where and when a batch is computed."""
    match fault:
        case faults.Straggler() | faults.SlowLink() | faults.SilentCorruption() | faults.StickyNode():
            return place.node == fault.node and place.clock_us >= fault.begins_us
        case faults.DriftingReplica() | faults.Maintenance():
            return place.node == fault.node and fault.begins_us <= place.clock_us < fault.ends_us
        case faults.MemoryLeak():
            return place.rank == fault.rank and place.records_activations
        case faults.LoaderStall():
            return place.shard in fault.shards and place.clock_us >= fault.begins_us
        case faults.BadShard():
            return place.shard in fault.shards and place.position >= fault.begins
        case faults.PoisonedBatch():
            return place.shard == fault.shard and 0 <= place.position - fault.first < fault.length
        case faults.NonfiniteBatch() | faults.BenignSpike():
            return (place.shard, place.position) == (fault.shard, fault.position)
    return False


def _runs_of_true(values: Sequence[bool]) -> list[tuple[int, int]]:
    """Return the first and the last index of each run of true values."""
    found: list[tuple[int, int]] = []
    for index, value in enumerate(values):
        if value and found and found[-1][1] == index - 1:
            found[-1] = (found[-1][0], index)
        elif value:
            found.append((index, index))
    return found
