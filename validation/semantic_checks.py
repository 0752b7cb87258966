"""Graders of level 3: what a reward means. All of them depend on `runtime.episode_determinism`.

The reward of an episode is its verdict: the reward of the call that ended it.
"""

from typing import ClassVar

from openenv.validation.graders import Subject
from openenv.validation.types import Level

from ml_trainer_env.validation.checks import Check, Episodes, Finding
from ml_trainer_env.validation.declarations import CallList
from ml_trainer_env.validation.plays import Play

__all__ = ["FloorGap", "OracleMax"]


class SemanticCheck(Check):
    """A check of what rewards mean. It is made only for an environment that does the same twice."""

    level: ClassVar[Level] = Level.SEMANTIC
    depends_on: ClassVar[tuple[str, ...]] = ("runtime.episode_determinism",)


class OracleMax(SemanticCheck):
    """Each declared oracle ends its episode, and its verdict is within the tolerance of the maximum."""

    check_id: ClassVar[str] = "semantic.oracle_max"

    def measure(self, subject: Subject, episodes: Episodes, finding: Finding) -> None:
        """Play the oracles."""
        tolerance = subject.manifest.reward.oracle_tolerance
        finding.remediation = "Declare an oracle that earns the maximum, or the range that the verifier can pay."
        for oracle in episodes.applicable(episodes.oracles(), finding):
            played, most = episodes.first(oracle), highest(oracle, subject)
            finding.measured[oracle.name] = {"verdict": played.verdict, "max": most, "tolerance": tolerance}
            finding.problems += out_of_range(oracle, played, subject)
            if not played.done:
                finding.problems.append(f"{oracle.name}: the oracle's calls do not end the episode")
            elif played.verdict < most - tolerance:
                finding.problems.append(
                    f"{oracle.name}: the oracle is paid {played.verdict:.4f}, less than {most:g} - {tolerance:g}"
                )
            else:
                finding.evidence.append(
                    f"{oracle.name}: {len(played.steps)} calls in {played.seconds:.1f} s end with "
                    f"{played.verdict:.4f} of {most:g}; all rewards sum to {sum(r or 0.0 for r in played.rewards):.4f}"
                )


class FloorGap(SemanticCheck):
    """The verdict of an episode without work is at least the declared margin below the maximum."""

    check_id: ClassVar[str] = "semantic.floor_gap"

    def measure(self, subject: Subject, episodes: Episodes, finding: Finding) -> None:
        """Play the canary `do_nothing`, or reset alone, on the task of each oracle."""
        margin = subject.manifest.reward.floor_margin
        finding.remediation = "The verifier pays nearly the maximum for no work. Look for empty conditions of success."
        for oracle in episodes.applicable(episodes.oracles(), finding):
            most = highest(oracle, subject)
            floor = episodes.first(episodes.idle().on(oracle)).verdict
            finding.measured[oracle.name] = {"floor": floor, "max": most, "margin": margin}
            line = f"{oracle.name}: doing nothing is paid {floor:.4f}, which is {most - floor:.4f} below {most:g}"
            (finding.problems if most - floor < margin else finding.evidence).append(line)


def highest(oracle: CallList, subject: Subject) -> float:
    """Return the most that the last call of an oracle can be paid."""
    return subject.manifest.reward.range[1] if oracle.max_reward is None else oracle.max_reward


def out_of_range(calls: CallList, played: Play, subject: Subject) -> list[str]:
    """Return the rewards of a play outside of the declared range, in words."""
    low, high = subject.manifest.reward.range
    return [
        f"{calls.name}: call {number} is paid {reward}, outside of [{low:g}, {high:g}]"
        for number, reward in enumerate(played.rewards, 1)
        if reward is not None and not low <= reward <= high
    ]
