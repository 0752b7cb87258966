"""Cuts shifted images out of bordered ones, flips and colours them: by torch, or by the native kernels."""

from typing import NamedTuple

import torch
from torch import Tensor

from ml_trainer_env.native import Library

__all__ = ["Cuts", "cut"]


class Cuts(NamedTuple):
    """What happens to each of N images.

    Attributes:
        rows: int64 (N,), the first row that is cut out.
        columns: int64 (N,), the first column.
        flips: bool (N,), whether the image is flipped horizontally.
        gains: float32 (N, C), factors of its channels. None for ones.
        offsets: float32 (N, C), what is added then. None for zeros, together with the gains.
    """

    rows: Tensor
    columns: Tensor
    flips: Tensor
    gains: Tensor | None = None
    offsets: Tensor | None = None


def cut(bordered: Tensor, border: int, chosen: Tensor, cuts: Cuts, kernels: Library | None) -> Tensor:
    """Return parts of some images.

    Args:
        bordered: float32 (M, H + 2 border, W + 2 border, C), contiguous.
        border: Width of the border in pixels.
        chosen: int64 (N,), indices of images, on the device of the images.
        cuts: What happens to each of the chosen ones. It is on the processor.
        kernels: The native kernels. None for torch.

    Returns:
        float32 (N, H, W, C).
    """
    if kernels is not None:
        return _cut_natively(bordered, border, chosen, cuts, kernels)
    device = bordered.device
    count, height, width, channels = bordered.shape
    height, width, places = height - 2 * border, width - 2 * border, 2 * border + 1
    by_image, by_row, by_column, _ = bordered.stride()
    windows = bordered.as_strided(
        (count, places, places, height, width * channels),
        (by_image, by_row, by_column, by_row, 1),
    )
    images = windows[chosen, cuts.rows.to(device), cuts.columns.to(device)].view(-1, height, width, channels)
    flipped = cuts.flips.nonzero().squeeze(1).to(device)
    images = images.index_copy(0, flipped, images[flipped].flip(2))
    if cuts.gains is None or cuts.offsets is None:
        return images
    gains, offsets = (numbers.to(device)[:, None, None, :] for numbers in (cuts.gains, cuts.offsets))
    return torch.addcmul(offsets, images, gains)


def _cut_natively(bordered: Tensor, border: int, chosen: Tensor, cuts: Cuts, kernels: Library) -> Tensor:
    """Do it in one pass."""
    _, height, width, channels = bordered.shape
    height, width = height - 2 * border, width - 2 * border
    found = torch.empty(len(chosen), height, width, channels)
    arrays = [chosen, cuts.rows, cuts.columns, cuts.flips, cuts.gains, cuts.offsets]
    kept = [None if array is None else array.contiguous() for array in arrays]
    addresses = [0 if array is None else array.data_ptr() for array in kept]
    sizes = height, width, channels, 2 * border
    kernels.functions.cut(bordered.data_ptr(), *sizes, *addresses, len(chosen), found.data_ptr())
    return found
