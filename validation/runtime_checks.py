"""Graders of level 2: whether an environment keeps its promises while it runs."""

from typing import ClassVar

from openenv.validation.graders import Subject

from ml_trainer_env.validation.checks import Check, Episodes, Finding
from ml_trainer_env.validation.plays import differences

__all__ = ["EpisodeDeterminism"]


class EpisodeDeterminism(Check):
    """The probe plan, played twice with one seed, is answered the same to the last bit."""

    check_id: ClassVar[str] = "runtime.episode_determinism"

    def measure(self, subject: Subject, episodes: Episodes, finding: Finding) -> None:
        """Play the probe plan twice."""
        probe = episodes.probe()
        first, second = episodes.first(probe), episodes.again(probe)
        finding.problems += differences(first, second)
        finding.measured = {"calls": len(first.steps)}
        finding.evidence.append(
            f"the probe plan ({len(first.steps)} calls, seed {probe.reset.get('seed')}) was played twice, the second "
            f"time {episodes.second_place}; fields that name the episode or tell the time are not compared"
        )
        finding.remediation = "Derive all randomness of an episode from the seed of its reset."
