"""Random generators of an epoch. They are seeded by values, never by a global state."""

from enum import IntEnum

import numpy as np
import torch

__all__ = ["Purpose", "generator"]


class Purpose(IntEnum):
    """The purpose of a generator. Each purpose has its own stream."""

    WEIGHTS = 0
    """Draws initial weights."""
    ORDER = 1
    """Shuffles the training examples."""
    AUGMENTATION = 2
    """Transforms them."""
    DROPOUT = 3
    """Drops units."""
    START = 4
    """Draws what happened before a start in mid-run."""


def generator(purpose: Purpose, seed: int, epoch: int) -> torch.Generator:
    """Return a CPU generator that is seeded by (seed, epoch, purpose) through NumPy's SeedSequence."""
    words = np.random.SeedSequence([seed, epoch, purpose]).generate_state(1, np.uint64)
    source = torch.Generator(device="cpu")
    source.manual_seed(int(words[0] >> np.uint64(1)))
    return source
