"""Random numbers that are the same on every machine and with every version of numpy.

They are made of raw words of PCG64, which numpy keeps the same between versions (unlike `Generator`, NEP 19), by
operations that IEEE 754 defines exactly.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "RandomStream"]

Floats = npt.NDArray[np.float32]


class RandomStream:
    """A stream of random numbers.

    Args:
        seed: An integer of at least 0, or several.
    """

    def __init__(self, seed: int | Sequence[int]) -> None:
        self._bits = np.random.PCG64(seed)

    def floats(self, *shape: int) -> Floats:
        """Return float32 in [0, 1), multiples of 2 ** -24."""
        size = int(np.prod(shape))
        words = self._bits.random_raw(size) >> np.uint64(40)
        return (words.astype(np.float32) * np.float32(2.0**-24)).reshape(shape)

    def between(self, low: float, high: float, *shape: int) -> Floats:
        """Return float32 in [low, high)."""
        return self.floats(*shape) * np.float32(high - low) + np.float32(low)

    def bytes(self, *shape: int) -> npt.NDArray[np.uint8]:
        """Return uint8 in [0, 255]."""
        size = int(np.prod(shape))
        words = self._bits.random_raw(-(-size // 8)).astype("<u8")
        return words.view(np.uint8)[:size].reshape(shape)

    def signs(self, *shape: int) -> Floats:
        """Return float32, -1 or 1."""
        return np.where(self.floats(*shape) < 0.5, np.float32(-1), np.float32(1))

    def below(self, bound: int, *shape: int) -> npt.NDArray[np.int64]:
        """Return int64 in [0, bound), for a bound much smaller than 2 ** 24."""
        return (self.floats(*shape) * np.float32(bound)).astype(np.int64)
