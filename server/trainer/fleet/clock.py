"""Virtual time: how long a step takes on the cluster. Whole microseconds, so that sums do not depend on cuts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml_trainer_env.server.datasets.random_stream import RandomStream
from ml_trainer_env.server.trainer.fleet.faults import Place
from ml_trainer_env.server.trainer.fleet.settings import StepSettings

__all__ = ["COMPUTE_US", "DATA_US", "REDUCE_US", "StepTimes", "step_times"]

COMPUTE_US = 1_000_000
"""A rank's time for the gradient of one batch."""
DATA_US = 20_000
"""A rank's wait for one batch."""
REDUCE_US = 100_000
"""Time of the reduction, after the last rank has come."""

_JITTER = 0.03
"""The time of a rank varies by up to this share, uniformly."""

_TIMING = 30
"""Stream of random numbers of the times."""


@dataclass(frozen=True, slots=True)
class StepTimes:
    """How long a step takes.

    Attributes:
        compute_us: What each rank computes, by rank.
        data_us: What each rank waits for its data.
        wait_us: What each rank waits for the last one and for the reduction. The slowest rank waits least.
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
    first = places[0][0]
    noise = RandomStream((first.seed, _TIMING, first.position, first.incarnation)).between(-1, 1, len(places))
    compute, data = [], []
    for own, wobble in zip(places, noise.astype(np.float64), strict=True):
        factor = 1.0 + _JITTER * float(wobble)
        compute.append(sum(settings.scenario.compute_us(round(COMPUTE_US * factor), place) for place in own))
        mirrored = settings.cluster.mirrored
        data.append(sum(settings.scenario.data_us(DATA_US, place, mirrored=place.shard in mirrored) for place in own))
    busy = [one + other for one, other in zip(compute, data, strict=True)]
    step_us = max(busy) + settings.scenario.reduce_us(REDUCE_US, [own[0] for own in places])
    return StepTimes(tuple(compute), tuple(data), tuple(step_us - one for one in busy), step_us)
