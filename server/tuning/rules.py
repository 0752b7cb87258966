"""The versions of the tuning game's rules. An episode keeps the version that it began with.

A change to the cost of a call or to a grade is a new version here. The journal records the version of each episode. So
an old episode resumes, replays and is graded by the rules that it began with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ml_trainer_env.server.episodes.call_counts import CallLimits

__all__ = ["CURRENT_RULES", "RULES", "Rules"]


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules that may differ between two episodes of the same task and rubric.

    Attributes:
        version: The version in the journal and in replies.
        grades_one_model: Whether all figures of a grade belong to one model: the best in the ancestry of the
            submitted one. Otherwise each figure is that of the whole episode.
        checkpoint_calls_count: Whether saving or restoring a checkpoint counts as a call that changes something.
        call_limits: Limits for the calls of an episode.
        saves_initial_model: Whether a checkpoint may be saved before the first epoch.
        shows_diagnostics: Whether replies show norms, dead units and seconds of each epoch.
        tells_place: Whether the reply to a reset tells split, index, group, rubrics and largest batch of the task.
    """

    version: int
    grades_one_model: bool
    checkpoint_calls_count: bool
    call_limits: CallLimits
    saves_initial_model: bool = False
    shows_diagnostics: bool = False
    tells_place: bool = False


_CALL_LIMITS = CallLimits(saves=64, restores=128, calls=1_000)

RULES: Mapping[int, Rules] = MappingProxyType(
    {
        1: Rules(1, grades_one_model=False, checkpoint_calls_count=True, call_limits=CallLimits()),
        2: Rules(
            2,
            grades_one_model=True,
            checkpoint_calls_count=False,
            call_limits=_CALL_LIMITS,
        ),
        3: Rules(
            3,
            grades_one_model=True,
            checkpoint_calls_count=False,
            call_limits=_CALL_LIMITS,
            saves_initial_model=True,
            shows_diagnostics=True,
            tells_place=True,
        ),
    }
)
"""All rules by version."""

CURRENT_RULES = RULES[3]
"""The rules of a new episode."""
