"""The names of a step's figures. Torch is not imported."""

from ml_trainer_env.server.trainer.fleet.places import BATCHES
from ml_trainer_env.server.trainer.fleet.settings import RANKS

__all__ = ["CHANCE_LOSS", "REPLICA_FIGURES", "STEP_FIGURES", "WORST_LOSS", "WORST_NORM", "batch_loss", "rank_norm"]

CHANCE_LOSS = 4.564348
"""ln 96, in nats a character: a model that knows nothing. Losses count up to it."""

WORST_LOSS = 99.0
"""A probe loss that is higher, or not a number, is shown as this."""

WORST_NORM = 1e9
"""The norm of an optimizer's moments that is higher, or not a number, is shown as this."""

REPLICA_FIGURES = tuple(f"checksum_{rank}" for rank in range(RANKS))
"""Names of the replicas' checksums."""


def batch_loss(batch: int) -> str:
    """Return the name of a batch's loss."""
    return f"loss/{batch}"


def rank_norm(rank: int) -> str:
    """Return the name of the norm of a rank's gradient."""
    return f"gradient_norm/{rank}"


STEP_FIGURES = (
    "loss",
    "gradient_norm",
    "learning_rate",
    "loss_scale",
    "schedule",
    "skipped",
    "step_us",
    "clock_us",
    "stopped",
    "hung",
    *map(batch_loss, range(BATCHES)),
    *map(rank_norm, range(RANKS)),
)
"""Names of a step's figures. Those that a step does not have are null."""
