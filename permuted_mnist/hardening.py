"""What the hardened variant does to images, so that no image is one that was ever published.

Every test image of MNIST is public. A permutation moves pixels and leaves their values, so the sorted values of an
image are a fingerprint by which an agent could look up its digit. Noise changes every value, brightness their scale,
and a shift which pixels fall off the border.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["BRIGHTNESS", "MAX_SHIFT", "NOISE", "hardened"]

MAX_SHIFT = 2
"""Pixels up, down, left or right, each image by its own draw."""

BRIGHTNESS = (0.6, 1.0)
"""Each image is multiplied by a factor from this range."""

NOISE = 0.08
"""Standard deviation of Gaussian noise on each pixel, which lies in [0, 1]."""

_TOGETHER = 10_000


def hardened(images: npt.NDArray[np.uint8], generator: np.random.Generator) -> npt.NDArray[np.float32]:
    """Shift, dim and blur with noise.

    Args:
        images: uint8 (N, 28, 28).
        generator: Draws what happens to each.

    Returns:
        float32 (N, 28, 28) in [0, 1].
    """
    side = images.shape[1]
    result = np.empty(images.shape, np.float32)
    for start in range(0, len(images), _TOGETHER):
        piece = images[start : start + _TOGETHER]
        count = len(piece)
        padded = np.pad(piece, ((0, 0), (MAX_SHIFT, MAX_SHIFT), (MAX_SHIFT, MAX_SHIFT)))
        rows, columns = generator.integers(0, 2 * MAX_SHIFT + 1, (2, count, 1)) + np.arange(side)
        shifted = padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
        factor = generator.uniform(*BRIGHTNESS, (count, 1, 1)).astype(np.float32) / np.float32(255)
        noise = generator.standard_normal(shifted.shape, np.float32) * np.float32(NOISE)
        np.clip(shifted * factor + noise, 0, 1, out=result[start : start + _TOGETHER])
    return result
