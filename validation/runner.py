"""A validation of levels 1 to 3 against a server that runs, with every grader that is installed.

OpenEnv 0.10's own runner loads no entry points, carries out no grader of level 3, and starts nothing without Docker.
This one uses its parts: parser, graders, evidence, order, policy and report. The report has OpenEnv's schema.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from openenv.validation.graders import Grader, GraderRegistry, Subject
from openenv.validation.manifest import NormalizedManifest, NormalizedManifestV2
from openenv.validation.parsers.openenv_yaml import OpenEnvYamlParser
from openenv.validation.policy import SeverityPolicy, apply_policy, load_policy
from openenv.validation.report import CheckResult, ValidationReportV2
from openenv.validation.runner import default_grader_registry, source_digest
from openenv.validation.runtime.collector import collect_runtime_evidence
from openenv.validation.runtime.contracts import load_runtime_plan
from openenv.validation.runtime.scheduler import execute_graders
from openenv.validation.signature import detect_signature
from openenv.validation.types import CheckStatus, Lane, Level

from ml_trainer_env.validation.checks import episodes_of

__all__ = ["installed_graders", "rendered", "validate"]

UNGRADED = {
    "runtime.reward_attribution": "OpenEnv has no grader for it yet, and no wire on which rubrics are read",
    "runtime.rubric_introspectable": "OpenEnv has no grader for it yet, and no wire on which rubrics are read",
    "runtime.trajectory_record": "OpenEnv has no grader for it yet, and no format of the record",
    "runtime.host_containment": "needs a container; OpenEnv has no grader for it yet",
    "runtime.resource_bounds": "needs a container; OpenEnv has no grader for it yet",
    "semantic.verifier_portability": "needs a second image; OpenEnv has no grader for it yet",
}
OF_RUBRICS = frozenset({"runtime.reward_attribution", "runtime.rubric_introspectable"})
"""Checks that apply to packages with the capability `rubric_tree` alone."""


def installed_graders(policy: SeverityPolicy) -> GraderRegistry:
    """Return OpenEnv's graders and those of the entry point group `openenv.validation.graders`."""
    registry = default_grader_registry(policy)
    registry.load_entry_points()
    return registry


def validate(
    root: Path,
    start: Callable[[], Any],
    *,
    max_level: Level = Level.SEMANTIC,
    only: Sequence[str] = (),
) -> ValidationReportV2:
    """Validate a package and return the report.

    Args:
        root: The package's folder, with openenv.yaml.
        start: Starts the environment. Returns an object with `base_url`, `inspect` and `stop`; `another`, `usage`,
            `exec` and `headers` are used where they exist. Ended here.
        max_level: The highest level that is graded.
        only: Check ids to grade, with what they depend on. Empty for all.

    Raises:
        ManifestError: The manifest is not valid.
        SignatureError: The folder is no package of OpenEnv.
    """
    policy, registry = load_policy("v2"), installed_graders(load_policy("v2"))
    signature, digest = detect_signature(root), source_digest(root)
    manifest = OpenEnvYamlParser().parse(root)
    graders = _needed(registry.select(manifest, max_level), only)
    subject = Subject(root, manifest, None, None, root / "outputs")
    results = execute_graders([one for one in graders if one.level is Level.STATIC], subject)
    if max_level > Level.STATIC:
        results += _graded_running(subject, start, [one for one in graders if one.level > Level.STATIC])
        if not only:
            results += _not_graded(policy, registry, manifest, max_level, {one.check_id for one in results})
    return ValidationReportV2(
        report_schema_version="2",
        target=str(root),
        source_digest=digest,
        signature=signature,
        manifest=manifest,
        policy_version=policy.policy_version,
        lane=Lane.LOCAL,
        levels_run=[level for level in Level if level <= max_level],
        results=results,
        verdict=apply_policy(results, policy, Lane.LOCAL),
    )


def rendered(report: ValidationReportV2) -> str:
    """Return a report as text, with the evidence of every check."""
    lines = [f"Validation report for {report.target} (signature: {report.signature.value})"]
    lines.append(f"  policy {report.policy_version}, levels {', '.join(one.name.lower() for one in report.levels_run)}")
    for result in report.results:
        lines.append(f"  {result.status.value.upper():5s} {result.check_id} ({result.duration_s:.2f}s)")
        lines += [f"          {line}" for line in result.evidence]
        lines += [f"          remediation: {result.remediation}"] if result.remediation else []
    counts = {status: sum(one.status is status for one in report.results) for status in CheckStatus}
    lines.append(", ".join(f"{count} {status.value}" for status, count in counts.items() if count))
    return "\n".join([*lines, f"Verdict: {report.verdict.value.upper()}"])


def _graded_running(subject: Subject, start: Callable[[], Any], graders: list[Grader]) -> list[CheckResult]:
    """Start the environment, collect OpenEnv's evidence, and grade."""
    started = time.monotonic()
    startup = CheckResult(check_id="runtime.startup", status=CheckStatus.PASS, duration_s=0.0)
    manifest = subject.manifest
    try:
        running = start()
    except Exception as error:  # whatever kept it from starting is the finding
        startup.status, startup.evidence = CheckStatus.FAIL, [str(error)[:4096]]
        return [startup, *execute_graders(graders, subject, prior=[startup])]
    try:
        evidence = None
        if isinstance(manifest, NormalizedManifestV2):
            plan = load_runtime_plan(subject.root, manifest.execution)
            with warnings.catch_warnings(category=DeprecationWarning, action="ignore"):  # OpenEnv's, of websockets
                evidence = collect_runtime_evidence(
                    running.base_url, plan, episode_timeout_s=manifest.resources.episode_timeout_s
                )
            if evidence.failure_reason:
                startup.status = CheckStatus.FAIL
        reason = evidence.failure_reason if evidence else None
        startup.evidence = [reason or "the environment started and answered its probe plan", str(running.inspect())]
        startup.duration_s = time.monotonic() - started
        subject = Subject(subject.root, manifest, None, running, subject.outputs_dir, runtime_evidence=evidence)
        try:
            return [startup, *execute_graders(graders, subject, prior=[startup])]
        finally:
            episodes_of(subject).close()
    finally:
        running.stop()


def _needed(graders: list[Grader], only: Sequence[str]) -> list[Grader]:
    """The graders of these checks and of all that they depend on."""
    if not only:
        return graders
    by_id = {grader.check_id: grader for grader in graders}
    wanted = list(only)
    for check in wanted:
        wanted.extend(name for name in (by_id[check].depends_on if check in by_id else ()) if name not in wanted)
    return [grader for grader in graders if grader.check_id in wanted]


def _not_graded(
    policy: SeverityPolicy,
    registry: GraderRegistry,
    manifest: NormalizedManifest,
    max_level: Level,
    graded: set[str],
) -> list[CheckResult]:
    """The checks of the policy that nothing graded, as skipped."""
    results = []
    for entry in policy.entries_for_lane(Lane.LOCAL).values():
        grader = registry.get(entry.check_id)
        if entry.check_id in graded or not Level.STATIC < entry.level <= max_level:
            continue
        if grader is None and entry.check_id in OF_RUBRICS and not manifest.capabilities.rubric_tree:
            continue
        if grader is None or grader.applies_to(manifest):
            reason = UNGRADED.get(entry.check_id, "no installed grader is for it")
            results.append(
                CheckResult(check_id=entry.check_id, status=CheckStatus.SKIP, evidence=[reason], duration_s=0.0)
            )
    return results
