"""Generators for an epoch, derived from values and never from a global state."""

from enum import IntEnum

import numpy as np
import torch

__all__ = ["Purpose", "generator"]


class Purpose(IntEnum):
    """What a generator is for. Each purpose has a stream of its own."""

    WEIGHTS = 0
    """Drawing initial weights."""
    ORDER = 1
    """Shuffling the training images."""
    AUGMENTATION = 2
    """Transforming them."""
    DROPOUT = 3
    """Dropping units."""


def generator(purpose: Purpose, seed: int, epoch: int) -> torch.Generator:
    """A CPU generator seeded by (purpose, seed, epoch) through NumPy's SeedSequence."""
    words = np.random.SeedSequence([seed, epoch, purpose]).generate_state(1, np.uint64)
    source = torch.Generator(device="cpu")
    source.manual_seed(int(words[0] >> np.uint64(1)))
    return source
