"""Random rotations, shifts, scales and shears of images."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["transformed"]

TURN = math.radians(10)
SCALE = 0.1
SHEAR = 0.1
SHIFT = 2 / 14
"""Maximum amounts, in both directions. The shift is relative to half the width: 2 of 28 pixels."""


def transformed(images: Tensor, generator: torch.Generator) -> Tensor:
    """Transform each image randomly. Pixels beyond the border are zero.

    Args:
        images: (N, 1, H, W).
        generator: Source of randomness.
    """
    count, _, height, width = images.shape

    def draw(most: float) -> Tensor:
        return ((torch.rand(count, generator=generator) * 2 - 1) * most).view(-1, 1, 1)

    turn, shear = draw(TURN), draw(SHEAR)
    wide, high = 1 + draw(SCALE), 1 + draw(SCALE)
    across = _centres(width).view(1, 1, -1)
    down = _centres(height).view(1, -1, 1)
    # Sums of a row and a column. F.affine_grid multiplies small matrices for each pixel and is seven times slower.
    xs = turn.cos() * wide * across + (shear - turn.sin() * high) * down + draw(SHIFT)
    ys = turn.sin() * wide * across + turn.cos() * high * down + draw(SHIFT)
    return F.grid_sample(images, torch.stack([xs, ys], -1), align_corners=False)


def _centres(pixels: int) -> Tensor:
    """Coordinates of the centres of pixels, between -1 and 1."""
    return (torch.arange(pixels) * 2 + 1) / pixels - 1
