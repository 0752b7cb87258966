"""What the graders have in common: the episodes they share, and how a finding becomes a result."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from openenv.validation.graders import Subject
from openenv.validation.manifest import NormalizedManifest, NormalizedManifestV2
from openenv.validation.report import CheckResult
from openenv.validation.runtime.contracts import load_runtime_plan
from openenv.validation.types import CheckStatus, Level, ProviderCapability

from ml_trainer_env.validation.declarations import (
    DO_NOTHING,
    CallList,
    DeclarationError,
    read_canaries,
    read_oracles,
    sampled,
)
from ml_trainer_env.validation.plays import Play, play
from ml_trainer_env.validation.wire import WireError

__all__ = ["Check", "Episodes", "Finding", "UnmeasuredError", "episodes_of"]

TASKS_VARIABLE = "OPENENV_GRADERS_TASKS"
"""Task ids, separated by commas, `*` for any text: the oracles to play. OpenEnv gives graders no options."""


class UnmeasuredError(Exception):
    """What a check needs is not there. The check is skipped, and the message is the reason."""


@dataclass
class Finding:
    """What a check found.

    Attributes:
        problems: What is wrong, in words and figures. The check fails if there are any.
        evidence: What was done and seen.
        measured: Figures by name.
        remediation: What the author changes.
    """

    problems: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)
    measured: dict[str, Any] = field(default_factory=dict)
    remediation: str | None = None


class Episodes:
    """The episodes of one running environment. Each list of calls is played once and shared by all graders.

    Args:
        subject: What is validated. It must be running.
    """

    def __init__(self, subject: Subject) -> None:
        if subject.running is None:
            raise UnmeasuredError("no environment is running")
        self.root: Path = subject.root
        self.manifest = subject.manifest
        self.base_url: str = subject.running.base_url
        self.headers: Mapping[str, str] = getattr(subject.running, "headers", {})
        self._start_another = getattr(subject.running, "another", None)
        self._firsts: dict[str, Play] = {}
        self._seconds: dict[str, Play] = {}
        self._another: Any = None
        self._refused: dict[str, str] = {}

    @property
    def limit_s(self) -> float:
        """The declared time limit of an episode, in seconds."""
        return self.manifest.resources.episode_timeout_s

    def probe(self) -> CallList:
        """Return the probe plan of the manifest as a list of calls.

        Raises:
            UnmeasuredError: The manifest declares none.
        """
        if not isinstance(self.manifest, NormalizedManifestV2):
            raise UnmeasuredError("the manifest has no validation.execution with a probe plan")
        plan = load_runtime_plan(self.root, self.manifest.execution)
        return CallList("probe", {**plan.reset.options, "seed": plan.reset.seed}, tuple(plan.actions))

    def oracles(self) -> list[CallList]:
        """Return the oracles that are played. See `declarations.sampled`.

        Raises:
            DeclarationError: There is none, or one is malformed.
        """
        declared = self.manifest.capabilities.oracle
        if declared is None:
            raise DeclarationError("the manifest declares no oracle: an environment is only good if it can be verified")
        wanted = [text for text in os.environ.get(TASKS_VARIABLE, "").split(",") if text]
        chosen = sampled(read_oracles(self.root, declared.location), wanted)
        if not chosen:
            raise DeclarationError(f"no declared oracle is for a task of {TASKS_VARIABLE}={','.join(wanted)}")
        return chosen

    def canaries(self) -> list[CallList]:
        """Return the canaries. Empty if the manifest declares none."""
        location = self.manifest.capabilities.canaries
        return [] if location is None else read_canaries(self.root, location)

    def idle(self) -> CallList:
        """Return the calls that hand in the least: the canary `do_nothing`, or none at all."""
        for canary in self.canaries():
            if canary.name == DO_NOTHING:
                return canary
        return CallList(DO_NOTHING, {}, ())

    def floor(self, oracle: CallList) -> float:
        """Return what doing nothing is paid on the task of an oracle: the better of `do_nothing` and a reset alone.

        Handing in the least may be paid less than nothing at all.
        """
        played = self.first(self.idle().on(oracle))
        return max(played.verdict, played.reset.reward or 0.0)

    def first(self, calls: CallList) -> Play:
        """Return the play of a list of calls. It is played on the first request."""
        return self._kept(self._firsts, calls, self.base_url)

    def again(self, calls: CallList) -> Play:
        """Return a second play, by an environment that was started anew if the provider can start one."""
        return self._kept(self._seconds, calls, self._second_url())

    def fresh(self, calls: CallList) -> Play:
        """Play a list of calls now, whatever was played before."""
        return play(self.base_url, calls, headers=self.headers, limit_s=self.limit_s)

    @property
    def second_place(self) -> str:
        """Where `again` plays, in words."""
        return "in an environment started anew" if self._start_another else "in a new session of the same environment"

    def applicable(self, lists: list[CallList], finding: Finding) -> list[CallList]:
        """Return the lists that apply to the tasks and data of this machine. The finding says which do not."""
        chosen = []
        for calls in lists:
            reason = calls.unmet(self.first(CallList(f"reset of {calls.name}", calls.reset, ())).reset.observation)
            if reason is None:
                chosen.append(calls)
            else:
                finding.evidence.append(f"{calls.name}: not played, since {reason}")
        if not chosen:
            raise UnmeasuredError("; ".join(["no list applies to the data of this machine", *finding.evidence]))
        return chosen

    def close(self) -> None:
        """End what was started for the second plays."""
        if self._another is not None:
            self._another.stop()
            self._another = None

    def _second_url(self) -> str:
        if self._start_another is None:
            return self.base_url
        if self._another is None:
            self._another = self._start_another()
        return str(self._another.base_url)

    def _kept(self, kept: dict[str, Play], calls: CallList, url: str) -> Play:
        key = f"{calls.name} {dict(calls.reset)} {calls.actions}"
        if key not in kept:
            kept[key] = play(url, calls, headers=self.headers, limit_s=self.limit_s)
        return kept[key]


_LATEST: list[tuple[Any, Episodes]] = []
# OpenEnv makes each grader without arguments and hands all graders of a run the same running environment. So what they
# share is found by that object. Only the latest is kept.


def episodes_of(subject: Subject) -> Episodes:
    """Return the episodes that the graders of one run share.

    Raises:
        UnmeasuredError: No environment is running.
    """
    if not _LATEST or _LATEST[0][0] is not subject.running:
        for _, episodes in _LATEST:
            episodes.close()
        _LATEST[:] = [(subject.running, Episodes(subject))]
    return _LATEST[0][1]


class Check:
    """A grader of OpenEnv. A subclass measures; this class times it and turns the finding into a result."""

    check_id: ClassVar[str]
    level: ClassVar[Level] = Level.RUNTIME
    requires_capabilities: ClassVar[frozenset[str]] = frozenset()
    requires_provider: ClassVar[frozenset[ProviderCapability]] = frozenset()
    depends_on: ClassVar[tuple[str, ...]] = ("runtime.startup",)

    def applies_to(self, manifest: NormalizedManifest) -> bool:
        """Whether the check is for a package with this manifest."""
        return True

    def run(self, subject: Subject) -> CheckResult:
        """Measure, and return the result with its evidence."""
        started = time.monotonic()
        finding, status = Finding(), CheckStatus.PASS
        try:
            self.measure(subject, episodes_of(subject), finding)
            if finding.problems:
                status = CheckStatus.FAIL
        except UnmeasuredError as reason:
            status = CheckStatus.SKIP
            finding.problems.append(str(reason))
        except (DeclarationError, WireError) as error:
            status = CheckStatus.FAIL
            finding.problems.append(str(error))
        return CheckResult(
            check_id=self.check_id,
            status=status,
            measured=finding.measured,
            evidence=[*finding.problems, *finding.evidence],
            remediation=finding.remediation if status is CheckStatus.FAIL else None,
            duration_s=time.monotonic() - started,
        )

    def measure(self, subject: Subject, episodes: Episodes, finding: Finding) -> None:
        """Fill in the finding.

        Raises:
            UnmeasuredError: The check cannot be made here.
            DeclarationError: What the check needs is not declared well.
            WireError: The environment does not answer.
        """
        raise NotImplementedError
