"""The finals: the top agents of a leaderboard play more runs and are ranked by all of their runs.

The set of finalists depends on the rewards only, not on the order of grading. It starts with the top agents by their
rewards without finals. If the finals of these agents move another agent into the top places, that agent is added. This
repeats until all agents in the top places have played the finals. A former finalist that is no longer in the set is
ranked without its final runs.
"""

from collections.abc import Hashable, Sequence

__all__ = ["PLACES", "best_rows", "finalists", "ranked"]

PLACES = 3


def finalists(
    before: Sequence[float],
    after: Sequence[float | None],
    submitted: Sequence[int],
    places: int = PLACES,
    participants: Sequence[Hashable] | None = None,
    rows: int | None = None,
) -> set[int]:
    """Find the agents that are in the finals. Returns their indices.

    Args:
        before: Mean rewards without finals, best first; those of a board on which less is better, negated. Of equals,
            the earlier submission is first.
        after: Mean rewards with finals; None for an agent that has not played them.
        submitted: Increasing numbers in the order of submission. Of equals, the earlier submission ranks higher.
        places: Number of top places.
        participants: Who takes part with each agent. Needed with `rows`.
        rows: Rows of a participant on the leaderboard at the most, the best ones; None for all.
    """
    found: set[int] = set()
    while True:
        first = ranked(before, after, submitted, found, participants, rows)[:places]
        if found.issuperset(first):
            return found
        found.update(first)


def ranked(
    before: Sequence[float],
    after: Sequence[float | None],
    submitted: Sequence[int],
    seated: set[int],
    participants: Sequence[Hashable] | None = None,
    rows: int | None = None,
) -> list[int]:
    """Rank agents, best first, if these are in the finals. Returns the indices of those that have a row.

    The other arguments are those of `finalists`.
    """
    means = [final if index in seated and final is not None else before[index] for index, final in enumerate(after)]
    order = sorted(range(len(means)), key=lambda index: (-means[index], submitted[index]))
    if participants is None or rows is None:
        return order
    return [order[place] for place in best_rows([participants[index] for index in order], rows)]


def best_rows(participants: Sequence[Hashable], rows: int) -> list[int]:
    """Get the places of the first rows of each participant.

    Args:
        participants: Who takes part in each row, best row first.
        rows: Rows of a participant at the most.
    """
    counts: dict[Hashable, int] = {}
    found = []
    for place, participant in enumerate(participants):
        counts[participant] = counts.get(participant, 0) + 1
        if counts[participant] <= rows:
            found.append(place)
    return found
