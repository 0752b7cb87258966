"""The versions of an episode's rules. An episode keeps the version that it began with.

A change of what a call costs, or of what a grade is made of, is a new version here. The journal names the version of
each episode, so that an old episode resumes, replays and is graded as it was begun.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["CURRENT_RULES", "RULES", "Rules"]


@dataclass(frozen=True, slots=True)
class Rules:
    """What may differ between two episodes of the same task and rubric.

    Attributes:
        version: Names these rules in the journal and in replies.
        grades_one_model: Whether all figures of a grade belong to one model: the best on the ancestry of the
            submitted one. Otherwise each figure is taken from the whole episode.
        checkpoint_calls_count: Whether saving and restoring a checkpoint counts among the calls that change something.
        max_saves: How many times a checkpoint may be saved; None for any number.
        max_restores: How many times a checkpoint may be restored; None for any number.
        max_calls: How many calls of any kind an episode has; the last one submits. None for any number.
    """

    version: int
    grades_one_model: bool
    checkpoint_calls_count: bool
    max_saves: int | None = None
    max_restores: int | None = None
    max_calls: int | None = None


RULES: Mapping[int, Rules] = MappingProxyType(
    {
        1: Rules(1, grades_one_model=False, checkpoint_calls_count=True),
        2: Rules(
            2,
            grades_one_model=True,
            checkpoint_calls_count=False,
            max_saves=64,
            max_restores=128,
            max_calls=1_000,
        ),
    }
)
"""All rules by version."""

CURRENT_RULES = RULES[2]
"""The rules of an episode that begins now."""
