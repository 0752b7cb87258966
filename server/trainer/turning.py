"""Rotates, scales and shifts images: by torch, or by the native kernels."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ml_trainer_env.native import Library

__all__ = ["Similarity", "turned"]


class Similarity(NamedTuple):
    """How each of N images is turned, zoomed and shifted.

    Attributes:
        cosine: float32 (N, 1), cosine of the angle, divided by the zoom.
        sine: float32 (N, 1), likewise.
        shift: float32 (N, 2), by columns and by rows, in units of half a side.
    """

    cosine: Tensor
    sine: Tensor
    shift: Tensor


def turned(images: Tensor, chosen: Tensor, black: Tensor, similarity: Similarity, kernels: Library | None) -> Tensor:
    """Return some images, each after a similarity, sampled bilinearly. Outside of an image all is black.

    Args:
        images: float32 (M, C, side, side), channels last in memory.
        chosen: int64 (N,), indices of images.
        black: (C,).
        similarity: What happens to each of the chosen ones.
        kernels: The native kernels, which turn images of one channel. None for torch.

    Returns:
        float32 (N, C, side, side).
    """
    if kernels is not None and images.shape[1] == 1:
        return _turned_natively(images, chosen, black, similarity, kernels)
    edge = black.view(1, -1, 1, 1)
    # grid_sample fills with zeros, so black must be zero here.
    grid = _similarity_grid(*similarity, images.shape[-1])
    return F.grid_sample(images[chosen] - edge, grid, align_corners=False).add_(edge)


def _turned_natively(images: Tensor, chosen: Tensor, black: Tensor, similarity: Similarity, kernels: Library) -> Tensor:
    """Return turned images, in one pass."""
    assert images.permute(0, 2, 3, 1).is_contiguous()
    count, side, chosen = len(chosen), images.shape[-1], chosen.contiguous()
    turns = torch.cat([similarity.cosine, similarity.sine, similarity.shift * (side / 2)], 1)
    found = torch.empty(count, 1, side, side)
    addresses = images.data_ptr(), chosen.data_ptr(), turns.data_ptr()
    kernels.functions.turn(*addresses, count, side, float(black), found.data_ptr())
    return found


def _similarity_grid(cosine: Tensor, sine: Tensor, shift: Tensor, side: int) -> Tensor:
    """Return the source coordinates of each pixel, (N, side, side, 2), for `grid_sample`.

    `F.affine_grid` computes the same in seven times the time, because it multiplies a small matrix for each pixel.
    """
    centres = (torch.arange(side, device=shift.device) * 2 + 1) / side - 1
    along, across = cosine * centres, sine * centres
    grid = torch.empty(len(shift), side, side, 2, device=shift.device)
    torch.add(along[:, None, :], (shift[:, :1] - across)[:, :, None], out=grid[..., 0])
    torch.add(across[:, None, :], (shift[:, 1:] + along)[:, :, None], out=grid[..., 1])
    return grid
