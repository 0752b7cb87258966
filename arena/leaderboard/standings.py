"""Places on a leaderboard: of submissions, or of participants, who are teams and users without a team."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ml_trainer_env.arena.leaderboard.service import Entry, participant

__all__ = ["Standing", "neighbours", "standings"]


@dataclass(frozen=True, slots=True)
class Standing:
    """A place.

    Attributes:
        entry: The ranked agent: the best one of its participant if participants are ranked.
        rank: Rank from 1. Equals share a rank, and the ranks after them are left out.
        position: Position in the list, from 1. Equals have different positions.
    """

    entry: Entry
    rank: int
    position: int


def standings(
    entries: Sequence[Entry],
    teams: Mapping[int, int] | None,
    figure: Callable[[Entry], float | None] = lambda entry: entry.mean,
) -> list[Standing]:
    """Give ranked agents their places.

    Args:
        entries: The agents, best first.
        teams: Ids of teams by the ids of their members, to rank participants; None to rank submissions. A benchmark
            agent is a participant of its own.
        figure: What they are ranked by. Agents with the same figure share a rank.
    """
    found: list[Standing] = []
    seen: set[tuple[str, int]] = set()
    for entry in entries:
        if teams is not None:
            whose = participant(entry, teams)
            if whose in seen:
                continue
            seen.add(whose)
        above = found[-1] if found else None
        is_equal = above is not None and figure(above.entry) == figure(entry)
        rank = above.rank if above is not None and is_equal else len(found) + 1
        found.append(Standing(entry, rank, len(found) + 1))
    return found


def neighbours(places: Sequence[Standing], position: int, window: int) -> Sequence[Standing]:
    """Get the places at most `window` above and below a position, with the position itself."""
    return places[max(0, position - 1 - window) : position + window]
