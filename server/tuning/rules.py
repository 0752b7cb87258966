"""The versions of the tuning game's rules. An episode keeps the version that it began with.

A change of what a call costs, or of what a grade is made of, is a new version here. The journal names the version of
each episode. So an old episode resumes, replays and is graded by the rules that it began with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ml_trainer_env.server.episodes.call_counts import CallLimits

__all__ = ["CURRENT_RULES", "RULES", "Rules"]


@dataclass(frozen=True, slots=True)
class Rules:
    """What may differ between two episodes of the same task and rubric.

    Attributes:
        version: Names these rules in the journal and in replies.
        grades_one_model: Whether all figures of a grade belong to one model: the best on the ancestry of the
            submitted one. Otherwise each figure is taken from the whole episode.
        checkpoint_calls_count: Whether saving and restoring a checkpoint counts among the calls that change something.
        call_limits: How many calls of a kind an episode has.
    """

    version: int
    grades_one_model: bool
    checkpoint_calls_count: bool
    call_limits: CallLimits


RULES: Mapping[int, Rules] = MappingProxyType(
    {
        1: Rules(1, grades_one_model=False, checkpoint_calls_count=True, call_limits=CallLimits()),
        2: Rules(
            2,
            grades_one_model=True,
            checkpoint_calls_count=False,
            call_limits=CallLimits(saves=64, restores=128, calls=1_000),
        ),
    }
)
"""All rules by version."""

CURRENT_RULES = RULES[2]
"""The rules of an episode that begins now."""
