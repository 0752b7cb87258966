"""The incidents: what goes wrong together, with parameters drawn from a seed.

An incident is what an agent has to find out. Most are one fault; some need two, such as a death that makes a damaged
checkpoint matter.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from ml_trainer_env.server.trainer.fleet import faults
from ml_trainer_env.server.trainer.fleet.faults import Fault, Scenario
from ml_trainer_env.server.trainer.fleet.places import BATCHES
from ml_trainer_env.server.trainer.fleet.settings import RANKS, SHARDS

__all__ = ["Draws", "Incident", "Setup", "faults_of", "job_setup", "lone_setup"]

SECOND = 1_000_000
STEP_US = 1_145_000
"""About the time of a step."""

_LONE = 50
"""Stream of random numbers of incidents that come alone."""


class Incident(StrEnum):
    """What may go wrong."""

    NOTHING = "nothing_wrong"
    BAD_SHARDS = "bad_shards"
    POISONED_BATCH = "poisoned_batch"
    SILENT_CORRUPTION = "silent_corruption"
    STRAGGLER = "straggler"
    CRASHES = "crashes"
    STICKY_NODE = "sticky_node"
    DRIFTING_REPLICA = "drifting_replica"
    HALF_PRECISION = "half_precision"
    LOADER_STALL = "loader_stall"
    CORRUPT_CHECKPOINT = "corrupt_checkpoint"
    SLOW_LINK = "slow_link"
    SLOW_STORAGE = "slow_storage"
    DIVERGENCE = "divergence"
    NONFINITE = "nonfinite"
    SHARED_SAMPLER = "shared_sampler"
    LOST_CURSOR = "lost_cursor"
    LOST_SCHEDULE = "lost_schedule"
    LOST_OPTIMIZER = "lost_optimizer"
    HANG = "hang"
    MEMORY_LEAK = "memory_leak"
    NO_SPARE = "no_spare"
    MAINTENANCE = "maintenance"


@dataclass(frozen=True, slots=True)
class Setup:
    """What an episode begins with.

    Attributes:
        incidents: What goes wrong.
        scenario: The same as faults, and what looks like one.
        spares: Number of spare nodes.
        telemetry_delay_us: Monitoring shows steps only after this time, in microseconds.
    """

    incidents: tuple[Incident, ...]
    scenario: Scenario
    spares: int = 2
    telemetry_delay_us: int = 0


class Draws:
    """Draws of whole numbers that are the same on every machine.

    Args:
        key: Names the draws.
    """

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(key)

    def below(self, bound: int) -> int:
        """Return a number from 0 to `bound` - 1."""
        return int(self._bits.random_raw() >> 32) * bound >> 32

    def between(self, low: int, high: int) -> int:
        """Return a number from `low` to `high`."""
        return low + self.below(high - low + 1)

    def several(self, bound: int, count: int) -> tuple[int, ...]:
        """Return different numbers below `bound`, ascending."""
        left = list(range(bound))
        return tuple(sorted(left.pop(self.below(len(left))) for _ in range(count)))


@dataclass(frozen=True, slots=True)
class Occasion:
    """When an incident begins, and where its parameters come from.

    Attributes:
        draws: The draws.
        begin: About the step at which it begins.
    """

    draws: Draws
    begin: int

    @property
    def saved_step(self) -> int:
        """A step near 50 steps later after which a checkpoint is saved, unless the interval is another one."""
        return (self.begin + 50) // 25 * 25

    @property
    def begin_us(self) -> int:
        """The same as a moment of virtual time, in microseconds."""
        return self.begin * STEP_US

    def below(self, bound: int) -> int:
        """Return a number from 0 to `bound` - 1."""
        return self.draws.below(bound)

    def between(self, low: int, high: int) -> int:
        """Return a number from `low` to `high`."""
        return self.draws.between(low, high)

    def node(self) -> int:
        """Return a node."""
        return self.below(RANKS)

    def seconds(self, low: float, high: float) -> int:
        """Return a time between two numbers of seconds, in microseconds."""
        return self.between(round(low * 10), round(high * 10)) * SECOND // 10

    def shards(self, count: int) -> tuple[int, ...]:
        """Return different shards, ascending."""
        return self.draws.several(SHARDS, count)

    def shard_read(self, position: int) -> int:
        """Return a shard that is read at a position in the data."""
        return (position * BATCHES + self.below(BATCHES)) % SHARDS


def faults_of(incident: Incident, draws: Draws, *, late: bool = False) -> tuple[Fault, ...]:
    """Return the faults of an incident.

    Args:
        incident: The incident.
        draws: Where its parameters come from.
        late: Whether it begins in the second third of the run instead of the first.
    """
    begin = draws.between(95, 130) if late else draws.between(30, 70)
    return _FAULTS[incident](Occasion(draws, begin))


def lone_setup(incident: Incident, seed: int) -> Setup:
    """Return an incident alone, as the named tasks have it."""
    draws = Draws(_LONE, list(Incident).index(incident), seed)
    spares = 0 if incident is Incident.NO_SPARE else 2
    return Setup((incident,), job_setup(faults_of(incident, draws), draws), spares)


def job_setup(found: tuple[Fault, ...], draws: Draws) -> Scenario:
    """Return faults of a job whose settings are drawn. So a setting tells nothing, and none is right everywhere."""
    return Scenario(found, loader_offsets=draws.below(2) == 0, records_activations=draws.below(2) == 0)


def _moment(step: int) -> int:
    return step * STEP_US


def _after_save(step: int) -> int:
    """Return a moment soon after a checkpoint was saved after a step, in a run that nothing has slowed."""
    return _moment(step) + step // 25 * 3 * SECOND // 2 + 3 * SECOND


def _nothing(at: Occasion) -> tuple[Fault, ...]:
    node, position = at.node(), at.begin + at.below(100)
    alerts = (
        f"node {node}: 3 correctable ECC errors in the last hour",
        f"node {node}: temperature 83 C, fans at 90 %",
        f"node {node}: NIC link flap, recovered in 12 ms",
        f"storage: latency p99 41 ms, target 40 ms, on the pool of node {node}",
    )
    return (
        faults.BenignSpike(at.shard_read(position), position),
        faults.HarmlessAlert(_moment(at.begin + at.below(60)), alerts[at.below(len(alerts))]),
        faults.LoneDeath(at.node(), (at.seconds(60, 300),)),
    )


def _bad_shards(at: Occasion) -> tuple[Fault, ...]:
    return (faults.BadShard(at.shards(at.between(4, 5)), at.begin, at.below(3) == 0),)


def _poisoned_batch(at: Occasion) -> tuple[Fault, ...]:
    first = at.begin + 40
    return (faults.PoisonedBatch(at.shard_read(first), first, 16, 1e4),)


def _silent_corruption(at: Occasion) -> tuple[Fault, ...]:
    return (faults.SilentCorruption(at.node(), at.begin_us, 4_000, 26),)


def _straggler(at: Occasion) -> tuple[Fault, ...]:
    return (faults.Straggler(at.node(), at.begin_us, at.between(25, 35) / 10),)


def _crashes(at: Occasion) -> tuple[Fault, ...]:
    # The first death comes after the only checkpoint, and the others come before there is another one.
    moments = [at.seconds(124, 128)]
    for _ in range(2):
        moments.append(moments[-1] + at.seconds(100, 108))
    return (faults.RareCheckpoints(100), *(faults.Crash(at.node(), (moment,)) for moment in moments))


def _sticky_node(at: Occasion) -> tuple[Fault, ...]:
    return (faults.StickyNode(at.node(), at.begin_us, at.seconds(22, 27)),)


def _drifting_replica(at: Occasion) -> tuple[Fault, ...]:
    return (faults.DriftingReplica(at.node(), at.begin_us, at.begin_us + 230 * SECOND, -0.25),)


def _loader_stall(at: Occasion) -> tuple[Fault, ...]:
    return (faults.LoaderStall(at.shards(2), at.begin_us, at.seconds(1.2, 2)),)


def _corrupt_checkpoint(at: Occasion) -> tuple[Fault, ...]:
    # The last two checkpoints before the death are damaged.
    death_us = _after_save(150) + at.seconds(0, 20)
    return (
        faults.CorruptCheckpoint(_after_save(125) - 10 * SECOND, death_us, 24_000, 2.0),
        faults.Crash(at.node(), (death_us,)),
    )


def _slow_link(at: Occasion) -> tuple[Fault, ...]:
    return (faults.SlowLink(at.node(), at.begin_us, at.seconds(1.6, 2.4)),)


def _slow_storage(at: Occasion) -> tuple[Fault, ...]:
    return (faults.RareCheckpoints(10), faults.SlowStorage(at.begin_us, 3 * SECOND, 9))


def _divergence(at: Occasion) -> tuple[Fault, ...]:
    return (faults.HighRate(at.between(10, 15)),)


def _nonfinite(at: Occasion) -> tuple[Fault, ...]:
    position = at.begin + 40
    return (faults.NonfiniteBatch(at.shard_read(position), position),)


def _lost_cursor(at: Occasion) -> tuple[Fault, ...]:
    return (faults.LostCursor(12), faults.Crash(at.node(), (_after_save(at.saved_step),)))


def _lost_schedule(at: Occasion) -> tuple[Fault, ...]:
    return (faults.LostSchedule(-at.between(110, 150)), faults.Crash(at.node(), (_after_save(at.saved_step),)))


def _lost_optimizer(at: Occasion) -> tuple[Fault, ...]:
    return (faults.MissingOptimizer(), faults.Crash(at.node(), (_after_save(at.saved_step),)))


def _hang(at: Occasion) -> tuple[Fault, ...]:
    first = at.begin_us
    return (faults.Hang(at.node(), (first, first + at.seconds(140, 170))),)


def _memory_leak(at: Occasion) -> tuple[Fault, ...]:
    return (faults.MemoryLeak(at.node(), at.seconds(36, 44)),)


def _no_spare(at: Occasion) -> tuple[Fault, ...]:
    return (faults.StickyNode(at.node(), at.begin_us, at.seconds(10, 20)),)


def _maintenance(at: Occasion) -> tuple[Fault, ...]:
    begins = _moment(at.begin + 30)
    node, away = at.node(), at.seconds(140, 170)
    return (faults.Maintenance(node, begins - 60 * SECOND, begins, begins + away),)


_FAULTS: Mapping[Incident, Callable[[Occasion], tuple[Fault, ...]]] = {
    Incident.NOTHING: _nothing,
    Incident.BAD_SHARDS: _bad_shards,
    Incident.POISONED_BATCH: _poisoned_batch,
    Incident.SILENT_CORRUPTION: _silent_corruption,
    Incident.STRAGGLER: _straggler,
    Incident.CRASHES: _crashes,
    Incident.STICKY_NODE: _sticky_node,
    Incident.DRIFTING_REPLICA: _drifting_replica,
    Incident.HALF_PRECISION: lambda _: (faults.HalfPrecision(),),
    Incident.LOADER_STALL: _loader_stall,
    Incident.CORRUPT_CHECKPOINT: _corrupt_checkpoint,
    Incident.SLOW_LINK: _slow_link,
    Incident.SLOW_STORAGE: _slow_storage,
    Incident.DIVERGENCE: _divergence,
    Incident.NONFINITE: _nonfinite,
    Incident.SHARED_SAMPLER: lambda _: (faults.SharedSampler(),),
    Incident.LOST_CURSOR: _lost_cursor,
    Incident.LOST_SCHEDULE: _lost_schedule,
    Incident.LOST_OPTIMIZER: _lost_optimizer,
    Incident.HANG: _hang,
    Incident.MEMORY_LEAK: _memory_leak,
    Incident.NO_SPARE: _no_spare,
    Incident.MAINTENANCE: _maintenance,
}
