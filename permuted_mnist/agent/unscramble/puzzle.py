"""A jigsaw puzzle on a square grid whose pieces know how well any two of them fit side by side.

`laid` puts down one piece after the other, `polished` has pieces trade places. Knows nothing of pixels or images.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

__all__ = ["EMPTY", "fit", "laid", "polished"]

EMPTY = -1
"""Where no piece lies."""

CONFIDENT = 0.5
"""A single piece that fits worse than this share of the usual tie is compared with the best pair."""

CANDIDATES = 8
"""A pair is looked for among so many pieces, those that fit best."""

ROUNDS = 10

Array = npt.NDArray[Any]
Cell = tuple[int, int]

_RIGHT, _DOWN, _LEFT, _UP = (0, 1), (1, 0), (0, -1), (-1, 0)
_BESIDE = (_RIGHT, _DOWN, _LEFT, _UP)
_TAKEN = -np.inf


def laid(ties: Array, side: int, start: float = 0.0) -> Array:
    """Lay the pieces, the surest first.

    A cell that touches two pieces or more leaves no doubt about its own. A cell that touches one could take any of that
    piece's free neighbours; so where no cell is sure, two pieces are laid at once, as the other half of a square.

    Args:
        ties: (n, n), symmetric: how well two pieces fit side by side; n is at most side * side.
        side: Of the grid.
        start: Which piece comes first: from 0, the one that has four neighbours most certainly, to 1.

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
    """Have pieces trade places as long as that helps.

    The cells of a chessboard's one colour touch only cells of the other. With those of one colour held fast, the best
    places for all others are an assignment problem, which has an exact answer; the two colours take turns.

    Args:
        ties: As `laid` takes them.
        board: As `laid` returns it.
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
    """Sum of the ties of all pieces that lie side by side."""
    padded = np.pad(ties, ((0, 1), (0, 1)))  # EMPTY is the last row and column
    return float(padded[board[:, :-1], board[:, 1:]].sum() + padded[board[:-1], board[1:]].sum())


def _gains(ties: Array, board: Array) -> Array:
    """(side, side, n): what each piece would gain in each cell from the pieces around it."""
    padded = np.pad(ties, ((0, 1), (0, 0)))
    framed = np.pad(board, 1, constant_values=EMPTY)
    side = len(board)
    beside = [framed[1 + row : 1 + row + side, 1 + column : 1 + column + side] for row, column in _BESIDE]
    gains: Array = np.sum([padded[pieces] for pieces in beside], axis=0)
    return gains


class _FreeCell:
    """A cell that touches pieces, and the two pieces that fit best into it.

    Attributes:
        touching: How many it touches.
        best: The piece that fits best.
        fits: How well: its mean tie, and half its lead over the second.
    """

    def __init__(self, pieces: int) -> None:
        self.touching = 0
        self._sums = np.zeros(pieces)
        self._candidates: list[int] = []

    def touch(self, ties: Array) -> None:
        """Note down one more piece that it touches."""
        self.touching += 1
        self._sums += ties
        self._candidates = []

    def refresh(self, used: Array) -> None:
        """Look for the best pieces again, if one of them has been used."""
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
    """The pieces that lie already. Where the grid's border is shows only at the end, so cells may have any number."""

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
        """Whether all pieces lie."""
        return bool(self._used.all())

    def put(self, piece: int, cell: Cell) -> None:
        """Lay a piece."""
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
        """The piece that fits best into a cell that touches two or more, and how well."""
        best: tuple[tuple[int, Cell] | None, float] = None, _TAKEN
        for cell, free in self._free.items():
            if free.touching > 1 and self._has_room(cell):
                free.refresh(self._used)
                if free.fits > best[1]:
                    best = (free.best, cell), free.fits
        return best

    def best_pair(self) -> tuple[list[tuple[int, Cell]], float]:
        """The two pieces that best complete a square with two that lie, and how well: the mean of three ties."""
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
        """The grid, with the pieces in its middle."""
        board = np.full((self._side, self._side), EMPTY)
        cells = np.array(list(self._pieces))
        spare = self._side - (np.ptp(cells, axis=0) + 1)
        rows, columns = (cells - cells.min(0) + spare // 2).T
        board[rows, columns] = list(self._pieces.values())
        return board

    def _pair(self, lies: int, lies_too: int) -> tuple[list[int], float]:
        """The best pieces beside two that lie side by side, and the mean of the three ties; kept until one is used."""
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
        """Whether the pieces would still fit onto the grid."""
        top, bottom, left, right = self._box
        return (
            max(bottom, cell[0]) - min(top, cell[0]) < self._side
            and max(right, cell[1]) - min(left, cell[1]) < self._side
        )


def _moved(cell: Cell, step: Cell) -> Cell:
    return cell[0] + step[0], cell[1] + step[1]
