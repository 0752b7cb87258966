"""Virtual time: how long a step takes on the cluster. Whole microseconds, so that sums do not depend on cuts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml_trainer_env.server.datasets.random_stream import RandomStream
from ml_trainer_env.server.trainer.fleet.faults import Place
from ml_trainer_env.server.trainer.fleet.settings import StepSettings

__all__ = ["COMPUTE_US", "DATA_US", "GUARD_US", "REDUCE_US", "StepTimes", "memory_mb", "step_times"]

COMPUTE_US = 1_000_000
"""A rank's time for the gradients of a step, where there are as many ranks as batches."""
MEMORY_MB = 46_000
"""A rank's memory."""
DATA_US = 20_000
"""A rank's wait for one batch."""
REDUCE_US = 100_000
"""Time of the reduction, after the last rank has come."""
GUARD_US = 40_000
"""Time of a guard: one more pass over the reduced gradient, and the wait for what it finds."""

_JITTER = 0.03
"""The time of a rank varies by up to this share, uniformly."""

_TIMING = 30
"""Stream of random numbers of the times."""
_MEMORY = 31
"""Stream of random numbers of the memory."""


@dataclass(frozen=True, slots=True)
class StepTimes:
    """How long a step takes.

    Attributes:
        compute_us: What each rank computes, by rank.
        data_us: What each rank waits for its data.
        wait_us: What each rank waits for the last one, for the reduction and for guards. The slowest rank waits least.
        step_us: The whole step.
    """

    compute_us: tuple[int, ...]
    data_us: tuple[int, ...]
    wait_us: tuple[int, ...]
    step_us: int


def step_times(settings: StepSettings, places: Sequence[Sequence[Place]]) -> StepTimes:
    """Return the times of a step.

    The noise depends on the incarnation, too: a restart runs on other neighbours' days.

    Args:
        settings: The settings.
        places: For each rank, the place of each batch that it computes. At least one.
    """
    first, batches = places[0][0], sum(map(len, places))
    noise = RandomStream((first.seed, _TIMING, first.position, first.incarnation)).between(-1, 1, len(places))
    scenario, mirrored = settings.scenario, settings.cluster.mirrored
    compute, data = [], []
    for own, wobble in zip(places, noise.astype(np.float64), strict=True):
        # The sequences of a step are spread evenly, also where the batches are not.
        even_us = COMPUTE_US * batches / len(places)
        compute.append(scenario.compute_us(round(even_us * (1.0 + _JITTER * float(wobble))), own[0]))
        data.append(max(scenario.data_us(DATA_US, place, mirrored=place.shard in mirrored) for place in own))
    busy = [one + other for one, other in zip(compute, data, strict=True)]
    step_us = max(busy) + scenario.reduce_us(REDUCE_US, [own[0] for own in places])
    step_us += GUARD_US * settings.training.guards
    return StepTimes(tuple(compute), tuple(data), tuple(step_us - one for one in busy), step_us)


def memory_mb(settings: StepSettings, place: Place) -> int:
    """Return the memory that a rank uses at the beginning of a step, in MB."""
    wobble = float(RandomStream((place.seed, _MEMORY, place.rank, place.incarnation)).between(-1, 1, 1)[0])
    return settings.scenario.memory_mb(round(MEMORY_MB * (1.0 + _JITTER * wobble)), place)
