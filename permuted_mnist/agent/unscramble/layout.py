"""Recovers the original positions of permuted pixels from the training images.

Given all other pixels, a pixel depends almost only on its four neighbours. So the partial correlation of two pixels
(the scaled inverse of the correlation matrix) is large for neighbours and near zero otherwise. With all 60,000 digits,
the first percentile of neighbours is 0.10, and 99.9 % of the other pairs are below 0.02. This makes the layout a jigsaw
puzzle: place one piece, then always the best fitting one, and finally move pieces as long as this helps. The result is
determined up to a rotation, a reflection and a shift. Nothing here depends on the content of the images.

Partial correlations of a Gaussian Markov random field: Rue and Held, Gaussian Markov Random Fields (2005), 2.2.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import puzzle

__all__ = ["Layout", "partial_correlations", "recover_layout"]

Array = npt.NDArray[Any]

SHRINKAGES = (0.3, 1.0, 3.0, 10.0)
"""Values that are added to the diagonal of the correlation matrix, whose inverse is otherwise noisy. All are tried."""

STARTS = (0.0, 0.1)
"""First pieces that are tried; see `puzzle.laid`. An early error reduces the final fit."""

JUDGE = 1.0
"""The shrinkage for comparing layouts."""

DIM = 0.03
"""Pixels whose standard deviation is below this share of the largest are placed last, in any free cell."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The position of each pixel.

    Attributes:
        order: int64 (side * side,): pixel `p` of the recovered image is pixel `order[p]` of the permuted one.
        fit: Sum of the partial correlations of all neighbours. A better fit means a more accurate layout.
    """

    order: Array
    fit: float

    def applied(self, images: Array) -> Array:
        """Move the pixels of images to their recovered positions: (N, side * side)."""
        return images.reshape(len(images), -1)[:, self.order]


def recover_layout(images: Array) -> Layout:
    """Recover the layout of square images.

    Args:
        images: (N, side, side) or (N, side * side), with permuted pixels. 20,000 images are usually enough.
    """
    flat = images.reshape(len(images), -1)
    side = round(flat.shape[1] ** 0.5)
    centred = flat - flat.mean(0)
    deviations = np.sqrt(np.einsum("ij,ij->j", centred, centred) / len(flat))
    varying = np.flatnonzero(deviations > DIM * deviations.max())
    scaled = centred[:, varying] / deviations[varying]
    correlations = (scaled.T @ scaled / np.float32(len(flat))).astype(np.float64)
    judge = partial_correlations(correlations, JUDGE)
    attempts = []
    for shrinkage in SHRINKAGES:
        ties = partial_correlations(correlations, shrinkage)
        for start in STARTS:
            board = puzzle.polished(ties, puzzle.laid(ties, side, start))
            attempts.append((puzzle.fit(judge, board), board))
    fit, board = max(attempts, key=lambda attempt: attempt[0])
    order = np.where(board == puzzle.EMPTY, puzzle.EMPTY, varying[board]).ravel()
    order[order == puzzle.EMPTY] = np.setdiff1d(np.arange(side * side), order)
    return Layout(order, fit)


def partial_correlations(correlations: Array, shrinkage: float) -> Array:
    """Compute the correlation of each pair of variables given all others. The diagonal is zero.

    Args:
        correlations: (n, n).
        shrinkage: Value that is added to the diagonal of `correlations`.
    """
    precision = np.linalg.inv(correlations + shrinkage * np.eye(len(correlations)))
    scale = np.sqrt(np.diag(precision))
    ties = -precision / np.outer(scale, scale)
    np.fill_diagonal(ties, 0)
    return np.asarray(ties)
