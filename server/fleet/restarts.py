"""How a job is restarted: what is asked for, and the cluster that comes of it, as pure functions."""

from dataclasses import dataclass, replace

from ml_trainer_env.server.datasets.random_stream import RandomStream
from ml_trainer_env.server.episodes.states import StateRef
from ml_trainer_env.server.trainer.fleet.settings import Cluster

__all__ = ["Restart", "SavedCheckpoint", "restarted"]

_ORDER = 40
"""Stream of random numbers of the order in which nodes get ranks."""

Ranges = tuple[tuple[int, int], ...]
"""Ranges of positions in the data, as (first, after the last), ascending and apart."""


@dataclass(frozen=True, slots=True, eq=False)
class SavedCheckpoint:
    """A checkpoint.

    Attributes:
        id: Its name.
        ref: The state.
        state_us: Virtual time of the steps before it, without the time of actions.
        saved_us: The moment of virtual time at which it was saved. None for the state before the first step.
        loss: Loss of the step before it.
        data_shift: The cluster's `data_shift` then.
    """

    id: str
    ref: StateRef
    state_us: int
    saved_us: int | None
    loss: float | None
    data_shift: int = 0


@dataclass(frozen=True, slots=True)
class Restart:
    """How a job is restarted.

    Attributes:
        skip: Positions in the data that are left out from now on, as (first, after the last). None for none.
        schedule: Position in the learning-rate schedule. None for the one that the checkpoint tells.
        fresh_optimizer: Whether the optimizer begins anew.
        data_position: Position in the data. None for the one that the checkpoint tells.
    """

    skip: tuple[int, int] | None = None
    schedule: int | None = None
    fresh_optimizer: bool = False
    data_position: int | None = None


def restarted(
    cluster: Cluster, checkpoint: SavedCheckpoint, how: Restart, *, seed: int, begun_us: int, repeated: int | None
) -> Cluster:
    """Return the cluster of a job that begins at a checkpoint. Its ranks are numbered anew.

    Args:
        cluster: The cluster before.
        checkpoint: The checkpoint.
        how: How the job is restarted.
        seed: Seed of the order of the ranks.
        begun_us: Virtual time at which the job begins.
        repeated: How many positions in the data a restart repeats, unless one is named. None for no such thing.
    """
    shift, skipped = checkpoint.data_shift, _with_skip(cluster.skipped, how.skip)
    if how.data_position is not None:
        shift, repeated = _count_read(how.data_position, skipped) - checkpoint.ref.position, None
    incarnation = cluster.incarnation + 1
    draws = RandomStream((seed, _ORDER, incarnation)).floats(len(cluster.nodes))
    return replace(
        cluster,
        nodes=tuple(node for _, node in sorted(zip(draws.tolist(), cluster.nodes, strict=True))),
        skipped=skipped,
        data_shift=shift,
        repeated=repeated,
        incarnation=incarnation,
        begun_us=begun_us,
        saved_at_step=None,
    )


def _with_skip(skipped: Ranges, added: tuple[int, int] | None) -> Ranges:
    """Return ranges with another one."""
    if added is None:
        return skipped
    merged: list[tuple[int, int]] = []
    for first, after in sorted((*skipped, added)):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(after, merged[-1][1]))
        else:
            merged.append((first, after))
    return tuple(merged)


def _count_read(position: int, skipped: Ranges) -> int:
    """Return how many positions before this one are not skipped."""
    return position - sum(min(after, position) - first for first, after in skipped if first < position)
