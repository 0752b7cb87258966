"""The settings of the fleet's steps, as values: what an agent may change, and what has happened to the cluster."""

from dataclasses import dataclass, field

from ml_trainer_env.server.trainer.fleet.faults import Scenario

__all__ = [
    "RANKS",
    "RESERVATION_US",
    "SHARDS",
    "WARMUP_STEPS",
    "Adjustment",
    "CheckpointRead",
    "Cluster",
    "StepSettings",
    "TrainingSettings",
]

RANKS = 8
SHARDS = 16
RESERVATION_US = 360_000_000
"""The nodes are reserved for this virtual time, in microseconds, used or not. A clean run takes about 300 steps."""
WARMUP_STEPS = 80
"""Length of the linear warm-up of the learning rate."""
_DECAY_BEGINS_US = 92_000_000
"""About the end of a warm-up."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """The settings that an agent may change.

    Attributes:
        learning_rate: The peak learning rate.
        clip_norm: The gradient is scaled down to this L2 norm. 0 for no limit.
        skip_nonfinite: Whether a step whose gradient is not finite is left out.
        dynamic_loss_scale: Whether the loss scale halves after a step that overflowed and doubles after a long time
            without one. It matters where gradients are half precision.
        checkpoint_every: Steps between two checkpoints.
        sampler_offset: Whether the sampler gives each rank batches of its own. If it and the loader do so, or neither,
            all ranks read those of rank 0.
        record_activations: Whether the ranks record activations for a profile.
    """

    learning_rate: float = 0.04
    clip_norm: float = 0.0
    skip_nonfinite: bool = False
    dynamic_loss_scale: bool = False
    checkpoint_every: int = 25
    sampler_offset: bool = True
    record_activations: bool = False

    @property
    def guards(self) -> int:
        """How many guards look at the gradient of every step: clipping, and those for what is not finite."""
        return (self.clip_norm > 0) + self.skip_nonfinite + self.dynamic_loss_scale

    def rate_at(self, position: int, now_us: int) -> float:
        """Return the learning rate: linear warm-up over steps, then linear decay to zero at the reservation's end.

        Args:
            position: Position in the schedule: steps since the warm-up began. Before it, the rate is zero.
            now_us: Virtual time, in microseconds.
        """
        warmth = min(1.0, max(0, position + 1) / WARMUP_STEPS)
        left = min(1.0, max(0.0, (RESERVATION_US - now_us) / (RESERVATION_US - _DECAY_BEGINS_US)))
        return self.learning_rate * warmth * left


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which nodes and data the run uses.

    Attributes:
        nodes: The node of each rank, by rank.
        quarantined: Shards that are left out, ascending.
        mirrored: Shards that are read from a mirror, ascending.
        skipped: Ranges of the data that are left out, as (first, after the last) position, ascending and apart.
        data_shift: Added to the number of a step: the position in the data that it reads.
        repeated: The first positions in the data are read again and again, so many. None if not.
        incarnation: Number of restarts so far.
        begun_us: Virtual time at which the job was started last, in microseconds.
        saved_at_step: The step after which this job saved its last checkpoint. None for none.
    """

    nodes: tuple[int, ...] = tuple(range(RANKS))
    quarantined: tuple[int, ...] = ()
    mirrored: tuple[int, ...] = ()
    skipped: tuple[tuple[int, int], ...] = ()
    data_shift: int = 0
    repeated: int | None = None
    incarnation: int = 0
    begun_us: int = 0
    saved_at_step: int | None = None

    @property
    def shards(self) -> tuple[int, ...]:
        """The shards in use."""
        return tuple(shard for shard in range(SHARDS) if shard not in self.quarantined)

    def data_position(self, step: int) -> int:
        """Return the position in the data that a step reads: positions that are skipped do not count."""
        position = step + self.data_shift
        if self.repeated is not None:
            return position % self.repeated
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
        copied_node: Every replica becomes that of this node. None to leave them.
        restored_us: The state is read from the checkpoint that was saved at this moment of virtual time, so that all
            replicas are equal. None if it is not read from one.
    """

    step: int
    schedule: int | None = None
    fresh_optimizer: bool = False
    loss_scale: float | None = None
    copied_node: int | None = None
    restored_us: int | None = None


@dataclass(frozen=True, slots=True)
class StepSettings:
    """The settings of a step.

    Attributes:
        training: The settings that an agent may change.
        cluster: The nodes and the data.
        scenario: What goes wrong.
        adjustment: What is changed before one of the steps. None for nothing.
        offset_us: Added to the state's clock: the virtual time of actions and restarts.
    """

    training: TrainingSettings = field(default_factory=TrainingSettings)
    cluster: Cluster = field(default_factory=Cluster)
    scenario: Scenario = field(default_factory=Scenario)
    adjustment: Adjustment | None = None
    offset_us: int = 0


@dataclass(frozen=True, slots=True)
class CheckpointRead:
    """How a checkpoint is read.

    Attributes:
        scenario: What goes wrong.
        saved_us: The moment of virtual time at which it was saved. None for the state before the first step.
    """

    scenario: Scenario
    saved_us: int | None
