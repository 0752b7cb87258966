"""Graders of level 3: what a reward means. All of them depend on `runtime.episode_determinism`.

The reward of an episode is its verdict: the reward of the call that ended it.
"""

import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from openenv.validation.graders import Subject
from openenv.validation.types import Level

from ml_trainer_env.validation.checks import Check, Episodes, Finding, UnmeasuredError
from ml_trainer_env.validation.declarations import DO_NOTHING, CallList, DeclarationError
from ml_trainer_env.validation.plays import Play, differences

__all__ = [
    "CanaryFloor",
    "FloorGap",
    "OracleMax",
    "Replayability",
    "ResourceEnvelope",
    "SemanticCheck",
    "VerifierDeterminism",
]

OTHER_SEEDS = 4
"""Number of further seeds with which a canary is played that was paid too much with the oracle's."""


class SemanticCheck(Check):
    """A check of what rewards mean. It is made only for an environment that does the same twice."""

    level: ClassVar[Level] = Level.SEMANTIC
    depends_on: ClassVar[tuple[str, ...]] = ("runtime.episode_determinism",)


class OracleMax(SemanticCheck):
    """Each declared oracle ends its episode, and its verdict is within the tolerance of the maximum."""

    check_id: ClassVar[str] = "semantic.oracle_max"

    def measure(self, subject: Subject, episodes: Episodes, finding: Finding) -> None:
        """Play the oracles."""
        finding.remediation = "Declare an oracle that earns the maximum, or the range that the verifier can pay."
        for oracle in episodes.applicable(episodes.oracles(), finding):
            played, most, tolerance = episodes.first(oracle), highest(oracle, subject), tolerated(oracle, subject)
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
            if oracle.idle:
                finding.evidence.append(f"{oracle.name}: doing nothing is the solution, so nothing is below it")
                continue
            most = highest(oracle, subject)
            floor = episodes.floor(oracle)
            finding.measured[oracle.name] = {"floor": floor, "max": most, "margin": margin}
            line = f"{oracle.name}: doing nothing is paid {floor:.4f}, which is {most - floor:.4f} below {most:g}"
            (finding.problems if most - floor < margin else finding.evidence).append(line)


class CanaryFloor(SemanticCheck):
    """No canary's verdict is more than the declared margin above the floor of its task.

    A canary that is paid more with the oracle's seed is played with other seeds, and their mean decides: a trick that
    pays by chance pays whoever is lucky, and does not pay.
    """

    check_id: ClassVar[str] = "semantic.canary_floor"

    def measure(self, subject: Subject, episodes: Episodes, finding: Finding) -> None:
        """Play each canary on the task of each oracle."""
        margin = subject.manifest.reward.floor_margin
        finding.remediation = "The verifier pays for a trick. Pay for the work that the trick leaves out."
        canaries = [canary for canary in episodes.canaries() if canary.name != DO_NOTHING]
        if not canaries:
            raise DeclarationError("the manifest declares no canaries: lists of calls that must earn nothing")
        for oracle in episodes.applicable(episodes.oracles(), finding):
            floor = episodes.floor(oracle)
            on_task = episodes.applicable([canary.on(oracle) for canary in canaries], finding)
            verdicts = {calls.name: episodes.first(calls).verdict for calls in on_task}
            finding.measured[oracle.name] = {"floor": floor, "margin": margin, **verdicts}
            for calls in on_task:
                finding.problems += out_of_range(calls, episodes.first(calls), subject)
            for calls in on_task:
                verdict = verdicts[calls.name]
                if verdict <= floor + margin:
                    continue
                told = f"{oracle.name}: canary {calls.name} is paid {verdict:.4f}, more than {floor:.4f} + {margin:g}"
                if others := [episodes.first(other).verdict for other in with_other_seeds(calls)]:
                    verdict = statistics.fmean(others)
                    told += f", and {verdict:.4f} in the mean of {len(others)} other seeds"
                (finding.problems if verdict > floor + margin else finding.evidence).append(told)
            paid = ", ".join(f"{name} {verdict:.4f}" for name, verdict in verdicts.items())
            finding.evidence.append(f"{oracle.name}: the floor is {floor:.4f}, and canaries are paid {paid}")


def with_other_seeds(calls: CallList) -> list[CallList]:
    """Return the same calls after resets with other seeds. Empty if the reset has no seed."""
    seed = calls.reset.get("seed")
    if not isinstance(seed, int):
        return []
    return [replace(calls, reset={**calls.reset, "seed": seed + number}) for number in range(1, 1 + OTHER_SEEDS)]


class VerifierDeterminism(SemanticCheck):
    """The same calls get the same verdict twice: those of each oracle, and of each canary on one task."""

    check_id: ClassVar[str] = "semantic.verifier_determinism"

    def measure(self, subject: Subject, episodes: Episodes, finding: Finding) -> None:
        """Play everything a second time. A judged environment may vary within its declared tolerance."""
        finding.remediation = "The verifier must depend on the calls and the seed alone."
        allowed = subject.manifest.reward.variance_tolerance if subject.manifest.capabilities.llm_judged else None
        oracles = episodes.applicable(episodes.oracles(), finding)
        quickest = min(oracles, key=lambda oracle: episodes.first(oracle).seconds)
        twice = [*oracles, *(canary.on(quickest) for canary in episodes.canaries())]
        for calls in twice:
            verdicts = [episodes.first(calls).verdict, episodes.again(calls).verdict]
            if abs(verdicts[0] - verdicts[1]) > (allowed or 0.0):
                finding.problems.append(f"{calls.name}: the verdict is {verdicts[0]!r}, then {verdicts[1]!r}")
        finding.measured = {"played_twice": len(twice)}
        finding.evidence.append(
            f"{len(oracles)} oracles, and {len(twice) - len(oracles)} canaries on {quickest.name}, got the same "
            f"verdict twice, the second time {episodes.second_place}"
        )


class Replayability(SemanticCheck):
    """A recorded oracle can be replayed: its rewards are those of the record, and a replay repeats every reply."""

    check_id: ClassVar[str] = "semantic.replayability"

    def measure(self, subject: Subject, episodes: Episodes, finding: Finding) -> None:
        """Compare plays with the record, and with each other. The record may be of another machine, a replay is not."""
        finding.remediation = "Record the oracles again, or find out why a replay is not what was recorded."
        judged = subject.manifest.capabilities.llm_judged
        for oracle in episodes.applicable(episodes.oracles(), finding):
            played = episodes.first(oracle)
            if not judged:
                finding.problems += [f"{oracle.name}: {text}" for text in differences(played, episodes.again(oracle))]
            if oracle.recorded is None:
                finding.problems.append(f"{oracle.name}: the oracle has no recorded rewards")
                continue
            rewards = [reward or 0.0 for reward in played.rewards]
            if len(rewards) != len(oracle.recorded):
                finding.problems.append(
                    f"{oracle.name}: {len(oracle.recorded)} rewards were recorded, {len(rewards)} were paid"
                )
                continue
            tolerance = tolerated(oracle, subject)
            furthest = max((abs(a - b) for a, b in zip(rewards, oracle.recorded, strict=True)), default=0.0)
            finding.measured[oracle.name] = {"furthest_from_record": furthest, "tolerance": tolerance}
            line = f"{oracle.name}: {len(rewards)} rewards, at most {furthest:.4f} from the recorded ones"
            (finding.problems if furthest > tolerance else finding.evidence).append(line)


class ResourceEnvelope(SemanticCheck):
    """While oracles are played, time, memory, processors and disk stay within the declared resources."""

    check_id: ClassVar[str] = "semantic.resource_envelope"
    depends_on: ClassVar[tuple[str, ...]] = ("runtime.episode_determinism", "semantic.oracle_max")

    def measure(self, subject: Subject, episodes: Episodes, finding: Finding) -> None:
        """Compare what the plays of the oracles used with the manifest."""
        finding.remediation = "Declare what an episode needs, or use less."
        declared = subject.manifest.resources
        for oracle in episodes.applicable(episodes.oracles(), finding):
            seconds = episodes.first(oracle).seconds
            finding.measured[oracle.name] = {"seconds": round(seconds, 1)}
            line = f"{oracle.name}: {seconds:.1f} s of {declared.episode_timeout_s:g} s"
            (finding.problems if seconds > declared.episode_timeout_s else finding.evidence).append(line)
        usage = used_by(subject.running)
        if usage is None:
            raise UnmeasuredError("; ".join(["the provider measures no memory, processors or disk", *finding.evidence]))
        limits = {"memory_mb": declared.memory_mb, "cpu": declared.cpu, "disk_mb": declared.disk_mb}
        for name, limit in limits.items():
            if name in usage:
                finding.measured[name] = round(usage[name], 2)
                line = f"{name}: {usage[name]:.2f} of {limit:g}"
                (finding.problems if usage[name] > limit else finding.evidence).append(line)


def used_by(running: Any) -> Mapping[str, float] | None:
    """Return what a running environment has used: `memory_mb` at its peak, mean `cpu` cores, `disk_mb`.

    A provider measures it (`usage`), or its sandbox has a control group that counts.
    """
    if callable(getattr(running, "usage", None)):
        measured: Mapping[str, float] = running.usage()
        return measured
    if not callable(getattr(running, "exec", None)):
        return None
    told = running.exec(["cat", "/sys/fs/cgroup/memory.peak"], 10.0)
    return {"memory_mb": int(told.stdout) / 2**20} if told.exit_code == 0 and told.stdout.strip().isdigit() else None


def highest(oracle: CallList, subject: Subject) -> float:
    """Return the most that the last call of an oracle can be paid."""
    return subject.manifest.reward.range[1] if oracle.max_reward is None else oracle.max_reward


def tolerated(oracle: CallList, subject: Subject) -> float:
    """Return how far the rewards of an oracle may be from the maximum and from the record."""
    return max(float(subject.manifest.reward.oracle_tolerance), oracle.tolerance)


def out_of_range(calls: CallList, played: Play, subject: Subject) -> list[str]:
    """Return the rewards of a play outside of the declared range, in words."""
    low, high = subject.manifest.reward.range
    return [
        f"{calls.name}: call {number} is paid {reward}, outside of [{low:g}, {high:g}]"
        for number, reward in enumerate(played.rewards, 1)
        if reward is not None and not low <= reward <= high
    ]
