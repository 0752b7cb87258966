"""Solves a jigsaw puzzle on a square grid. A matrix (`ties`) says how well any two pieces fit side by side.

`laid` places one piece after another, `polished` improves the result by moving pieces. This module does not depend on
pixels or images.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

__all__ = ["EMPTY", "fit", "laid", "polished"]

EMPTY = -1
"""Value of a cell without a piece."""

CONFIDENT = 0.5
"""If the best single piece fits worse than this share of the median tie, it is compared with the best pair."""

CANDIDATES = 8
"""Number of best fitting pieces that are considered for a pair."""

ROUNDS = 10

Array = npt.NDArray[Any]
Cell = tuple[int, int]

_RIGHT, _DOWN, _LEFT, _UP = (0, 1), (1, 0), (0, -1), (-1, 0)
_BESIDE = (_RIGHT, _DOWN, _LEFT, _UP)
_TAKEN = -np.inf


def laid(ties: Array, side: int, start: float = 0.0) -> Array:
    """Place all pieces, in the order of confidence.

    The piece of a cell with two or more neighbours is usually clear. A cell with one neighbour could take several
    pieces. If no cell is clear, two pieces are placed at once, as the other half of a square.

    Args:
        ties: (n, n), symmetric: how well two pieces fit side by side; n is at most side * side.
        side: Side of the grid.
        start: Selects the first piece, from 0 to 1. 0 is the piece that most certainly has four neighbours.

    Returns:
        int64 (side, side): the piece in each cell, or EMPTY.
    """
    table = _Table(ties, side)
    best_four = np.sort(ties, axis=1)[:, -4:]
    first = int(np.argsort(-best_four[:, 0])[int(start * (len(ties) - 1))])
    confident = CONFIDENT * float(np.median(best_four))
    table.put(first, (0, 0))
    table.put(int(ties[first].argmax()), _RIGHT)
    while not table.is_done:
        single, fits = table.best_single()
        if fits < confident:
            pair, pair_fits = table.best_pair()
            if pair_fits > fits:
                for piece, cell in pair:
                    table.put(piece, cell)
                continue
        if single is None:
            break
        table.put(*single)
    return table.board()


def polished(ties: Array, board: Array) -> Array:
    """Move pieces as long as this improves the fit.

    On a chessboard, the cells of one colour touch only cells of the other colour. With the pieces of one colour fixed,
    the best places of all other pieces are an assignment problem with an exact solution. The colours alternate.

    Args:
        ties: The same as for `laid`.
        board: Result of `laid`.
    """
    side = len(board)
    rows, columns = np.indices(board.shape)
    for _ in range(ROUNDS):
        before = board
        for colour in (0, 1):
            cells = np.flatnonzero(((rows + columns) % 2 == colour).ravel())
            pieces = np.setdiff1d(np.arange(len(ties)), board.ravel()[np.setdiff1d(np.arange(side * side), cells)])
            gains = _gains(ties, board).reshape(side * side, -1)[np.ix_(cells, pieces)]
            chosen, taken = linear_sum_assignment(gains, maximize=True)
            flat = board.ravel().copy()
            flat[cells] = EMPTY
            flat[cells[chosen]] = pieces[taken]
            board = flat.reshape(board.shape)
        if np.array_equal(before, board):
            break
    return board


def fit(ties: Array, board: Array) -> float:
    """Compute the sum of the ties of all neighbouring pieces."""
    padded = np.pad(ties, ((0, 1), (0, 1)))  # EMPTY is the last row and column
    return float(padded[board[:, :-1], board[:, 1:]].sum() + padded[board[:-1], board[1:]].sum())


def _gains(ties: Array, board: Array) -> Array:
    """Compute the sum of each piece's ties to the neighbours of each cell: (side, side, n)."""
    padded = np.pad(ties, ((0, 1), (0, 0)))
    framed = np.pad(board, 1, constant_values=EMPTY)
    side = len(board)
    beside = [framed[1 + row : 1 + row + side, 1 + column : 1 + column + side] for row, column in _BESIDE]
    gains: Array = np.sum([padded[pieces] for pieces in beside], axis=0)
    return gains


class _FreeCell:
    """An empty cell beside pieces, and the two unused pieces that fit best into it.

    Attributes:
        touching: Number of neighbouring pieces.
        best: The best piece.
        fits: Its fit: its mean tie plus half its lead over the second piece.
    """

    def __init__(self, pieces: int) -> None:
        self.touching = 0
        self._sums = np.zeros(pieces)
        self._candidates: list[int] = []

    def touch(self, ties: Array) -> None:
        """Add a neighbouring piece."""
        self.touching += 1
        self._sums += ties
        self._candidates = []

    def refresh(self, used: Array) -> None:
        """Find the best pieces again if one of them has been used."""
        if self._candidates and not used[self._candidates].any():
            return
        sums = np.where(used, _TAKEN, self._sums)
        self.best = int(sums.argmax())
        best = float(sums[self.best])
        sums[self.best] = _TAKEN
        second = int(sums.argmax())
        lead = best - float(sums[second]) if sums[second] > _TAKEN else 0.0
        self.fits = (best + lead / 2) / self.touching
        self._candidates = [self.best, second]


class _Table:
    """The placed pieces. Cells may have any coordinates, because the border is known only at the end."""

    def __init__(self, ties: Array, side: int) -> None:
        self._ties = ties
        self._side = side
        self._near = np.argsort(-ties, axis=1)[:, :CANDIDATES]
        self._used = np.zeros(len(ties), bool)
        self._pieces: dict[Cell, int] = {}
        self._free: dict[Cell, _FreeCell] = {}
        self._pairs: dict[tuple[int, int], tuple[list[int], float]] = {}
        self._box = [0, 0, 0, 0]

    @property
    def is_done(self) -> bool:
        """Whether all pieces are placed."""
        return bool(self._used.all())

    def put(self, piece: int, cell: Cell) -> None:
        """Place a piece."""
        self._pieces[cell] = piece
        self._used[piece] = True
        self._free.pop(cell, None)
        top, bottom, left, right = self._box
        self._box = [min(top, cell[0]), max(bottom, cell[0]), min(left, cell[1]), max(right, cell[1])]
        for step in _BESIDE:
            beside = _moved(cell, step)
            if beside not in self._pieces:
                self._free.setdefault(beside, _FreeCell(len(self._ties))).touch(self._ties[piece])

    def best_single(self) -> tuple[tuple[int, Cell] | None, float]:
        """Find the best piece for a cell with two or more neighbours, and its fit."""
        best: tuple[tuple[int, Cell] | None, float] = None, _TAKEN
        for cell, free in self._free.items():
            if free.touching > 1 and self._has_room(cell):
                free.refresh(self._used)
                if free.fits > best[1]:
                    best = (free.best, cell), free.fits
        return best

    def best_pair(self) -> tuple[list[tuple[int, Cell]], float]:
        """Find the two pieces that best complete a square with two placed ones. Their fit is the mean of three ties."""
        best: tuple[list[tuple[int, Cell]], float] = [], _TAKEN
        for cell in self._free:
            for along, aside in ((_RIGHT, (_UP, _DOWN)), (_DOWN, (_LEFT, _RIGHT))):
                other = _moved(cell, along)
                if other not in self._free or not (self._has_room(cell) and self._has_room(other)):
                    continue
                for step in aside:
                    lies, lies_too = self._pieces.get(_moved(cell, step)), self._pieces.get(_moved(other, step))
                    if lies is not None and lies_too is not None:
                        pieces, fits = self._pair(lies, lies_too)
                        if fits > best[1]:
                            best = list(zip(pieces, (cell, other), strict=True)), fits
        return best

    def board(self) -> Array:
        """Get the grid, with the pieces in its centre."""
        board = np.full((self._side, self._side), EMPTY)
        cells = np.array(list(self._pieces))
        spare = self._side - (np.ptp(cells, axis=0) + 1)
        rows, columns = (cells - cells.min(0) + spare // 2).T
        board[rows, columns] = list(self._pieces.values())
        return board

    def _pair(self, lies: int, lies_too: int) -> tuple[list[int], float]:
        """Get the best pair beside two neighbouring pieces, and its fit. Cached until one of its pieces is used."""
        known = self._pairs.get((lies, lies_too))
        if known is None or self._used[known[0]].any():
            known = self._pairs[lies, lies_too] = self._new_pair(lies, lies_too)
        return known

    def _new_pair(self, lies: int, lies_too: int) -> tuple[list[int], float]:
        ones, others = (self._near[piece][~self._used[self._near[piece]]] for piece in (lies, lies_too))
        if not len(ones) or not len(others):
            return [], _TAKEN
        fits = self._ties[lies, ones][:, None] + self._ties[np.ix_(ones, others)] + self._ties[lies_too, others]
        fits[ones[:, None] == others] = _TAKEN
        one, other = np.unravel_index(fits.argmax(), fits.shape)
        return [int(ones[one]), int(others[other])], float(fits[one, other]) / 3

    def _has_room(self, cell: Cell) -> bool:
        """Whether the pieces would still fit into the grid."""
        top, bottom, left, right = self._box
        return (
            max(bottom, cell[0]) - min(top, cell[0]) < self._side
            and max(right, cell[1]) - min(left, cell[1]) < self._side
        )


def _moved(cell: Cell, step: Cell) -> Cell:
    return cell[0] + step[0], cell[1] + step[1]
