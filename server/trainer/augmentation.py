"""Random transforms of whole batches by tensor operations, in standardised pixel space.

Everything scales with `strength`: 0 gives the images back bit for bit, 1 is the usual full
recipe for the family. Randomness comes from the generator given, never from elsewhere.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ml_trainer_env.server.trainer.kinds import AugmentationKind

__all__ = ["augment"]

ROTATION_DEGREES = 15.0
DIGIT_SHIFT_PIXELS = 3.0
DIGIT_SCALE = 0.15
CLOTHES_SHIFT_PIXELS = 3
OBJECT_SHIFT_PIXELS = 4
FLIP_PROBABILITY = 0.5
COLOUR = 0.25


def augment(
    kind: AugmentationKind,
    images: Tensor,
    black: Tensor,
    strength: float,
    source: torch.Generator,
) -> Tensor:
    """Transform each image at random.

    Args:
        kind: The family of transforms.
        images: float32 (N, C, H, W), channels last in memory; left as they are.
        black: (C,), the value that moves in at the edges.
        strength: 0 to 1.
        source: Where the randomness comes from.

    Returns:
        float32 (N, C, H, W), channels last in memory.
    """
    if strength == 0.0:
        return images
    if kind is AugmentationKind.DIGITS:
        return _turned(images, black, strength, source)
    if kind is AugmentationKind.CLOTHES:
        pixels = round(CLOTHES_SHIFT_PIXELS * strength)
        return _flipped(_shifted(images, black, pixels, source), strength, source)
    pixels = round(OBJECT_SHIFT_PIXELS * strength)
    moved = _flipped(_shifted(images, black, pixels, source), strength, source)
    return _coloured(moved, strength, source)


def _uniform(shape: tuple[int, ...], bound: float, source: torch.Generator) -> Tensor:
    return torch.empty(shape).uniform_(-bound, bound, generator=source)


def _turned(images: Tensor, black: Tensor, strength: float, source: torch.Generator) -> Tensor:
    """Rotate, scale and shift by a random similarity, sampled bilinearly."""
    count, side = images.shape[0], images.shape[-1]
    angle = _uniform((count,), math.radians(ROTATION_DEGREES) * strength, source)
    zoom = 1.0 + _uniform((count,), DIGIT_SCALE * strength, source)
    # affine_grid counts in units where the image spans 2.
    shift = _uniform((count, 2), 2.0 * DIGIT_SHIFT_PIXELS * strength / side, source)
    cosine, sine = angle.cos() / zoom, angle.sin() / zoom
    rows = torch.stack([cosine, -sine, shift[:, 0], sine, cosine, shift[:, 1]], dim=1)
    grid = F.affine_grid(rows.view(count, 2, 3), list(images.shape), align_corners=False)
    edge = black.view(1, -1, 1, 1)
    # grid_sample fills with zeros: make black zero while it runs.
    return F.grid_sample(images - edge, grid, align_corners=False).add_(edge)


def _shifted(images: Tensor, black: Tensor, pixels: int, source: torch.Generator) -> Tensor:
    """Pad by `pixels` of black on each side and crop back at a random place."""
    if pixels == 0:
        return images
    count, channels, height, width = images.shape
    padded = black.expand(count, height + 2 * pixels, width + 2 * pixels, channels).contiguous()
    inside = slice(pixels, -pixels)
    padded[:, inside, inside] = images.permute(0, 2, 3, 1)
    by_image, by_row, by_column, _ = padded.stride()
    places = 2 * pixels + 1
    windows = padded.as_strided(
        (count, places, places, height, width * channels),
        (by_image, by_row, by_column, by_row, 1),
    )
    offsets = torch.randint(0, places, (2, count), generator=source)
    crops = windows[torch.arange(count), offsets[0], offsets[1]]
    return crops.view(count, height, width, channels).permute(0, 3, 1, 2)


def _flipped(images: Tensor, strength: float, source: torch.Generator) -> Tensor:
    """Mirror some images left to right. May write into `images` unless strength is 0."""
    chance = torch.rand(images.shape[0], generator=source)
    chosen = (chance < FLIP_PROBABILITY * strength).nonzero().squeeze(1)
    mirrored = images[chosen].flip(3)
    return images.index_copy(0, chosen, mirrored)


def _coloured(images: Tensor, strength: float, source: torch.Generator) -> Tensor:
    """Give each channel of each image a random gain and offset: contrast, light and tint."""
    shape = (images.shape[0], images.shape[1], 1, 1)
    gain = 1.0 + _uniform(shape, COLOUR * strength, source)
    offset = _uniform(shape, COLOUR * strength, source)
    # Not addcmul: its result would take the memory order of its first operand.
    return (images * gain).add_(offset)
