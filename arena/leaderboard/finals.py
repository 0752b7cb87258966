"""The finals: the first of a board play more runs, and are ranked by all that they have played.

Who they are follows from the rewards alone, whoever was graded first: the first of the board as it is without finals
are seated; if with their finals another comes to be among the first, it is seated, too, and so on until all of the
first have played. Who was seated once and is no longer among them is ranked without its finals, like the rest.
"""

from collections.abc import Sequence

__all__ = ["PLACES", "finalists"]

PLACES = 3


def finalists(
    before: Sequence[float], after: Sequence[float | None], submitted: Sequence[int], places: int = PLACES
) -> set[int]:
    """Indices of the agents that are in the finals.

    Args:
        before: Mean reward of each without finals, the best first, of equals the one submitted earlier.
        after: With finals; None for who has not played them.
        submitted: When each was submitted, as numbers that rise: of equals the earlier one is ahead with finals, too.
        places: How many of the first must have played.
    """
    seated: set[int] = set()
    while True:
        shown = [final if index in seated and final is not None else before[index] for index, final in enumerate(after)]
        first = sorted(range(len(shown)), key=lambda index: (-shown[index], submitted[index]))[:places]
        if seated.issuperset(first):
            return seated
        seated.update(first)
