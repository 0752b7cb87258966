"""The finals: the top agents of a leaderboard play more runs and are ranked by all of their runs.

The set of finalists depends on the rewards only, not on the order of grading. It starts with the top agents by their
rewards without finals. If the finals of these agents move another agent into the top places, that agent is added. This
repeats until all agents in the top places have played the finals. A former finalist that is no longer in the set is
ranked without its final runs.
"""

from collections.abc import Sequence

__all__ = ["PLACES", "finalists"]

PLACES = 3


def finalists(
    before: Sequence[float], after: Sequence[float | None], submitted: Sequence[int], places: int = PLACES
) -> set[int]:
    """Find the agents that are in the finals. Returns their indices.

    Args:
        before: Mean rewards without finals, best first. Of equals, the earlier submission is first.
        after: Mean rewards with finals; None for an agent that has not played them.
        submitted: Increasing numbers in the order of submission. Of equals, the earlier submission ranks higher.
        places: Number of top places.
    """
    found: set[int] = set()
    while True:
        means = [final if index in found and final is not None else before[index] for index, final in enumerate(after)]
        first = sorted(range(len(means)), key=lambda index: (-means[index], submitted[index]))[:places]
        if found.issuperset(first):
            return found
        found.update(first)
