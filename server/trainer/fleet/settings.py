"""The settings of the fleet's steps, as values: what an agent may change, and what has happened to the cluster."""

from dataclasses import dataclass, field

from ml_trainer_env.server.trainer.fleet.faults import Scenario

__all__ = ["RANKS", "SHARDS", "TOTAL_STEPS", "WARMUP_STEPS", "Adjustment", "Cluster", "Optimization", "StepSettings"]

RANKS = 8
SHARDS = 16
TOTAL_STEPS = 300
"""Length of a clean run. The learning rate reaches zero after it."""
WARMUP_STEPS = 20
"""Length of the linear warm-up of the learning rate."""


@dataclass(frozen=True, slots=True)
class Optimization:
    """The settings of the optimizer.

    Attributes:
        learning_rate: The peak learning rate.
        clip_norm: The gradient is scaled down to this L2 norm. 0 for no limit.
        skip_nonfinite: Whether a step whose gradient is not finite is left out.
        dynamic_loss_scale: Whether the loss scale halves after a step that overflowed and doubles after a long time
            without one. It matters where gradients are half precision.
    """

    learning_rate: float = 0.012
    clip_norm: float = 0.0
    skip_nonfinite: bool = False
    dynamic_loss_scale: bool = False

    def rate_at(self, position: int) -> float:
        """Return the learning rate at a position of the schedule: linear warm-up, then linear decay to zero."""
        warmth = min(1.0, (position + 1) / WARMUP_STEPS)
        left = min(1.0, max(0.0, (TOTAL_STEPS - position) / (TOTAL_STEPS - WARMUP_STEPS)))
        return self.learning_rate * warmth * left


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which nodes and data the run uses.

    Attributes:
        nodes: The node of each rank, by rank.
        quarantined: Shards that are left out, ascending.
        mirrored: Shards that are read from a mirror, ascending.
        skipped: Ranges of the data that are left out, as (first, after the last) position, ascending and apart.
        incarnation: Number of restarts so far.
        begun_us: Virtual time at which the job was started last, in microseconds.
        saved_at_step: The step after which the last checkpoint was saved. 0 for none.
    """

    nodes: tuple[int, ...] = tuple(range(RANKS))
    quarantined: tuple[int, ...] = ()
    mirrored: tuple[int, ...] = ()
    skipped: tuple[tuple[int, int], ...] = ()
    incarnation: int = 0
    begun_us: int = 0
    saved_at_step: int = 0

    @property
    def shards(self) -> tuple[int, ...]:
        """The shards in use."""
        return tuple(shard for shard in range(SHARDS) if shard not in self.quarantined)

    def data_position(self, step: int) -> int:
        """Return the position in the data that a step reads: positions that are skipped do not count."""
        position = step
        for first, after in self.skipped:
            if position >= first:
                position += after - first
        return position


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What is changed just before a step, once.

    Attributes:
        step: The step.
        schedule: Position in the schedule. None to leave it.
        fresh_optimizer: Whether Adam's moments are zeroed.
        loss_scale: The loss scale. None to leave it.
        copied_rank: Every replica becomes that of this rank. None to leave them.
    """

    step: int
    schedule: int | None = None
    fresh_optimizer: bool = False
    loss_scale: float | None = None
    copied_rank: int | None = None


@dataclass(frozen=True, slots=True)
class StepSettings:
    """The settings of a step.

    Attributes:
        optimization: The settings of the optimizer.
        cluster: The nodes and the data.
        scenario: What goes wrong.
        adjustment: What is changed before one of the steps. None for nothing.
        offset_us: Added to the state's clock: the virtual time of actions and restarts.
    """

    optimization: Optimization = field(default_factory=Optimization)
    cluster: Cluster = field(default_factory=Cluster)
    scenario: Scenario = field(default_factory=Scenario)
    adjustment: Adjustment | None = None
    offset_us: int = 0
