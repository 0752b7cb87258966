"""Keys of training states. A key is a hash of everything that the state depends on.

An epoch is a pure function. So the key of a state is known before the state is trained: it follows from the seed and
from the inputs of each epoch. Two states with the same key have the same bits.
"""

import hashlib
import json

from ml_trainer_env.server.trainer.config import DIVERGED_LOSS, TrainingConfig
from ml_trainer_env.server.trainer.state import FreshState

__all__ = ["epoch_key", "fresh_key", "unproven_key"]


def fresh_key(fresh: FreshState) -> str:
    """Return the key (SHA-256, hex) of initial weights. They are drawn where the first epoch is trained.

    Args:
        fresh: The network and the seed of the weights, and their start if there is one. A start also depends on the
            examples, and the key of the first epoch names those.
    """
    start = () if fresh.start is None else (fresh.start.text,)
    return _digest("fresh", fresh.network, fresh.seed, fresh.epoch, *start)


def unproven_key(recorded: str, weights_hash: str) -> str:
    """Return the key (SHA-256, hex) of a state whose record lacks the identity of its executor.

    Nothing is stored under this key. So the state must be trained again and compared.

    Args:
        recorded: The recorded key.
        weights_hash: The recorded hash of its weights.
    """
    return _digest("unproven", recorded, weights_hash)


def epoch_key(
    identity: str,
    before: str,
    config: TrainingConfig,
    rate: float,
    images: str,
    diverged_above: float = DIVERGED_LOSS,
) -> str:
    """Return the key (SHA-256, hex) of the state after an epoch.

    Settings that only change the rates of other epochs are not part of it. So runs that differ only in those
    settings share epochs.

    Args:
        identity: Key of the executor's identity: versions, threads, probe.
        before: Key of the state before the epoch.
        config: The settings.
        rate: The learning rate of the epoch.
        images: Key of the examples.
        diverged_above: A training loss above this counts as divergence. It is part of the key only if it is not the
            default.
    """
    strength = config.augmentation_strength if config.augmentation else 0.0
    settings = (config.optimizer, config.batch_size, config.weight_decay, config.dropout, strength, rate)
    limit = () if diverged_above == DIVERGED_LOSS else (diverged_above,)
    return _digest("epoch", identity, before, images, *settings, *limit)


def _digest(*parts: str | float) -> str:
    """SHA-256 of the parts. Floats are written with all their digits."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
