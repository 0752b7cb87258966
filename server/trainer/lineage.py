"""Names for training states, made from how they came to be.

Since an epoch is a pure function, a state is known before it is trained: by what it was drawn from
and by what each epoch since then depended on. Two runs with the same key have the same bits.
"""

import hashlib
import json

from ml_trainer_env.server.trainer.config import TrainingConfig
from ml_trainer_env.server.trainer.state import FreshState

__all__ = ["epoch_key", "fresh_key", "unproven_key"]


def fresh_key(fresh: FreshState) -> str:
    """The key (SHA-256, hex) of weights that are to be drawn. They are drawn where the first epoch is trained.

    Args:
        fresh: What they are drawn from.
    """
    return _digest("fresh", fresh.network, fresh.seed, fresh.epoch)


def unproven_key(recorded: str, weights_hash: str) -> str:
    """The key (SHA-256, hex) of a state that was recorded without the identity of what trained it.

    Nothing was ever stored under this key, so the state has to be trained again and compared.

    Args:
        recorded: The key it was recorded under.
        weights_hash: What its weights have to come out as.
    """
    return _digest("unproven", recorded, weights_hash)


def epoch_key(identity: str, before: str, config: TrainingConfig, rate: float, images: str) -> str:
    """The key (SHA-256, hex) of the state that an epoch ends in.

    The settings that only shape the rates of other epochs are left out, so runs that differ in those
    alone share what they have in common.

    Args:
        identity: Key of what all results depend on besides: versions, threads, probe.
        before: Key of the state it starts from.
        config: The settings.
        rate: The learning rate of the epoch.
        images: Names the content of the images.
    """
    strength = config.augmentation_strength if config.augmentation else 0.0
    settings = (config.optimizer, config.batch_size, config.weight_decay, config.dropout, strength, rate)
    return _digest("epoch", identity, before, images, *settings)


def _digest(*parts: str | float) -> str:
    """SHA-256 over the parts; floats by all their digits."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
