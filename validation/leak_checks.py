"""Graders of levels 2 and 3 that look for solutions where an agent could find them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from openenv.validation.graders import Subject
from openenv.validation.manifest import NormalizedManifestV2

from ml_trainer_env.validation.checks import Check, Episodes, Finding
from ml_trainer_env.validation.containment import (
    Solution,
    copied_into_image,
    found_in_sandbox,
    served_files,
    solution_of,
)
from ml_trainer_env.validation.declarations import CallList, declared_files
from ml_trainer_env.validation.semantic_checks import SemanticCheck
from ml_trainer_env.validation.wire import Session, TaskApi, WireError

__all__ = ["NoSolutionLeakage", "OracleContainment"]

FILES = 5
"""Number of files of oracles that are asked for."""

ROWS = 50
"""Number of rows of the task API that are searched, of each split."""


class OracleContainment(Check):
    """No file of the oracle is in the image, in the sandbox, or among what the server serves."""

    check_id: ClassVar[str] = "runtime.oracle_containment"

    def measure(self, subject: Subject, episodes: Episodes, finding: Finding) -> None:
        """Read the build context, ask the server, and look into the sandbox if there is one."""
        finding.remediation = "Exclude the oracle from the image with .dockerignore, and serve no files of the package."
        oracles, location = episodes.oracles(), _location(subject)
        paths = declared_files(subject.root, location)
        files = {path.relative_to(subject.root.resolve()).as_posix(): _solution(path, oracles) for path in paths}
        self._look_into_image(subject, paths, finding)
        asked, served = served_files(episodes.base_url, episodes.headers, dict(list(files.items())[:FILES]))
        finding.problems += [f"served to everybody: {path}" for path in served]
        finding.measured |= {"files": len(paths), "requests": asked}
        finding.evidence.append(f"{asked} requests for {min(len(files), FILES)} of {len(files)} files got no oracle")
        if callable(getattr(subject.running, "exec", None)):
            inside = found_in_sandbox(subject.running, dict(list(files.items())[:FILES]))
            finding.problems += [f"in the sandbox: {path}" for path in inside]
            finding.evidence.append("the sandbox was searched for files of these names")
        else:
            finding.evidence.append("the provider has no sandbox to search; the environment runs on this machine")

    def _look_into_image(self, subject: Subject, paths: list[Path], finding: Finding) -> None:
        manifest = subject.manifest
        if (
            not isinstance(manifest, NormalizedManifestV2)
            or not (subject.root / manifest.execution.dockerfile).exists()
        ):
            finding.evidence.append("there is no Dockerfile to read")
            return
        execution = manifest.execution
        copied = copied_into_image(subject.root, execution.dockerfile, execution.context, paths)
        finding.problems += [f"copied into the image: {path}" for path in copied]
        finding.evidence.append(
            f"{execution.dockerfile} and .dockerignore leave all {len(paths)} files out of the image"
        )


class NoSolutionLeakage(SemanticCheck):
    """Nothing that an agent sees before it acts, or from calls that solve nothing, contains the solution."""

    check_id: ClassVar[str] = "semantic.no_solution_leakage"

    def measure(self, subject: Subject, episodes: Episodes, finding: Finding) -> None:
        """Search resets, states, tools, tasks, and the replies to the canaries."""
        finding.remediation = "Take the solution out of what the environment shows before it is found."
        for oracle in episodes.applicable(episodes.oracles(), finding):
            tools = _tools(episodes, oracle)
            solution = solution_of(oracle, tools)
            shown = 0
            for where, value, said in _seen(subject, episodes, oracle, tools):
                shown += 1
                parts = solution.without(said).parts_in(value)
                finding.problems += [f"{oracle.name}: {where} shows {part}" for part in parts]
            size = f"{len(solution.words)} words and {len(solution.settings)} settings"
            finding.evidence.append(f"{oracle.name}: {shown} replies were searched for {size} of its oracle")


def _location(subject: Subject) -> str:
    declared = subject.manifest.capabilities.oracle
    return declared.location if declared is not None else ""


def _solution(path: Path, oracles: list[CallList]) -> Solution:
    """The solution that recognises a file: that of its own oracle, or of the first one."""
    own = [oracle for oracle in oracles if f"/{oracle.name}.json" in f"/{path.as_posix()}"]
    return solution_of((own or oracles)[0])


def _tools(episodes: Episodes, oracle: CallList) -> list[dict[str, Any]]:
    with Session(episodes.base_url, episodes.headers, episodes.limit_s) as session:
        session.reset(oracle.reset)
        try:
            return session.tools()
        except WireError:  # its actions are no tool calls
            return []


def _seen(
    subject: Subject, episodes: Episodes, oracle: CallList, tools: list[dict[str, Any]]
) -> Iterator[tuple[str, object, frozenset[str]]]:
    """What an agent sees that has not solved the task: where, the value, and the words that the agent said itself."""
    nothing: frozenset[str] = frozenset()
    yield "the list of tools", tools, nothing
    idle = episodes.first(episodes.idle().on(oracle))
    yield "the reply to the reset", idle.reset.observation, nothing
    yield "the state after the reset", idle.states[0], nothing
    if subject.manifest.capabilities.task_api:
        api = TaskApi(episodes.base_url, subject.manifest.name, episodes.headers)
        for split in api.splits():
            yield f"the task list of {split}", api.tasks(split, 0, min(ROWS, api.count(split))), nothing
    for canary in [episodes.idle(), *episodes.canaries()]:
        said = solution_of(canary).words
        played = episodes.first(canary.on(oracle))
        for number, (step, state) in enumerate(zip(played.steps, played.states[1:], strict=True), 1):
            if not step.done:  # what an episode tells at its end is no help in it
                yield f"call {number} of the canary {canary.name}", [step.observation, state], said
