"""Graders of level 2: whether an environment keeps its promises while it runs.

They play the probe plan of the manifest, which is short. What they compare is compared to the last bit, except for
fields that name the episode or tell the time (see `plays.differences`).
"""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, ClassVar

from openenv.validation.graders import Subject
from openenv.validation.manifest import NormalizedManifest

from ml_trainer_env.validation.checks import Check, Episodes, Finding, UnmeasuredError
from ml_trainer_env.validation.declarations import CallList
from ml_trainer_env.validation.plays import Play, begin, differences, play_in, play_two
from ml_trainer_env.validation.wire import Session, TaskApi, WireError

__all__ = [
    "EpisodeDeterminism",
    "EpisodeIsolation",
    "SeedControl",
    "TaskDeclarationAccuracy",
    "ToolDeclarationAccuracy",
]

OTHER_SEEDS = 3
PAGE = 500
SHOWN = 10


class SeedControl(Check):
    """One seed gives one episode, and other seeds give others."""

    check_id: ClassVar[str] = "runtime.seed_control"

    def measure(self, subject: Subject, episodes: Episodes, finding: Finding) -> None:
        """Play the probe plan with its seed twice, and with other seeds."""
        finding.remediation = "Derive all randomness of an episode from the seed of its reset, and use it."
        probe = episodes.probe()
        seed, first = probe.reset["seed"], episodes.first(probe)
        echoed = first.states[0].get("seed", seed)
        if echoed != seed:
            finding.problems.append(f"the reset asks for the seed {seed}, and the state says {echoed}")
        finding.problems += [f"seed {seed}, played twice: {text}" for text in differences(first, episodes.fresh(probe))]
        others = [episodes.first(with_seed(probe, seed + n)) for n in range(1, OTHER_SEEDS + 1)]
        different = sum(bool(differences(first, other, ignore={"seed"})) for other in others)
        finding.measured = {"seed": seed, "other_seeds": OTHER_SEEDS, "different_episodes": different}
        line = f"{different} of {OTHER_SEEDS} other seeds gave an episode that differs in more than the seed's name"
        (finding.evidence if different else finding.problems).append(line)


class EpisodeDeterminism(Check):
    """The probe plan, played twice with one seed, is answered the same to the last bit."""

    check_id: ClassVar[str] = "runtime.episode_determinism"

    def measure(self, subject: Subject, episodes: Episodes, finding: Finding) -> None:
        """Play the probe plan twice."""
        finding.remediation = "Derive all randomness of an episode from the seed of its reset."
        probe = episodes.probe()
        first, second = episodes.first(probe), episodes.again(probe)
        finding.problems += differences(first, second)
        finding.measured = {"calls": len(first.steps)}
        finding.evidence.append(
            f"the probe plan ({len(first.steps)} calls, seed {probe.reset['seed']}) was played twice, the second "
            f"time {episodes.second_place}; fields that name the episode or tell the time are not compared"
        )


class EpisodeIsolation(Check):
    """An episode is the same beside another one, and after another one in its own session."""

    check_id: ClassVar[str] = "runtime.episode_isolation"

    def measure(self, subject: Subject, episodes: Episodes, finding: Finding) -> None:
        """Play the probe plan beside an episode of another seed, then a second time in the same session."""
        finding.remediation = "Keep the state of an episode in its session, and begin anew with each reset."
        probe = episodes.probe()
        alone, neighbour = episodes.first(probe), with_seed(probe, probe.reset["seed"] + 1)
        with ExitStack() as opened:
            session = opened.enter_context(Session(episodes.base_url, episodes.headers, episodes.limit_s))
            try:
                other = opened.enter_context(Session(episodes.base_url, episodes.headers, episodes.limit_s))
                beside: Play | None = play_two(session, probe, other, neighbour)
            except WireError as error:
                finding.evidence.append(f"no second session at the same time: {error}")
                beside = None
                session = opened.enter_context(Session(episodes.base_url, episodes.headers, episodes.limit_s))
                play_in(session, neighbour)
            after = play_in(session, probe)
        if beside is not None:
            finding.problems += [f"beside another episode: {text}" for text in differences(alone, beside)]
            finding.evidence.append("the episode was the same while another session took turns with it")
        finding.problems += [f"after another episode: {text}" for text in differences(alone, after)]
        finding.evidence.append("the episode was the same after another one in its session")
        if finding.problems:
            finding.evidence.clear()


class ToolDeclarationAccuracy(Check):
    """The tools that the environment lists are those that the manifest declares, and no other can be called."""

    check_id: ClassVar[str] = "runtime.tool_declaration_accuracy"

    def measure(self, subject: Subject, episodes: Episodes, finding: Finding) -> None:
        """List the tools in an episode of the probe plan."""
        declared = subject.manifest.capabilities.declared_tools
        with Session(episodes.base_url, episodes.headers, episodes.limit_s) as session:
            begin(session, episodes.probe().reset)
            try:
                listed = session.tools()
            except WireError as error:
                if declared:
                    raise
                raise UnmeasuredError(f"no tools are declared, and none can be listed: {error}") from error
            unknown = f"undeclared_{uuid.uuid4().hex[:8]}"
            answer = session.step({"type": "call_tool", "tool_name": unknown, "arguments": {}})
        names = [str(tool.get("name")) for tool in listed]
        finding.remediation = "Declare in capabilities.declared_tools what the environment lists."
        finding.measured = {"declared": len(declared), "listed": len(names)}
        finding.problems += [f"declared, not listed: {name}" for name in declared if name not in names]
        finding.problems += [f"listed, not declared: {name}" for name in names if name not in declared]
        finding.problems += [f"listed twice: {name}" for name in sorted(set(names)) if names.count(name) > 1]
        finding.problems += [f"without a description: {tool['name']}" for tool in listed if not tool.get("description")]
        if answer.error is None:
            finding.problems.append("a call of a tool that does not exist was not refused")
        finding.evidence.append(f"{len(names)} tools are listed: {', '.join(names)}; an unknown tool is refused")


class TaskDeclarationAccuracy(Check):
    """Splits and counts of the task API are those of the manifest, and each oracle is for a task that it lists."""

    check_id: ClassVar[str] = "runtime.task_declaration_accuracy"

    def applies_to(self, manifest: NormalizedManifest) -> bool:
        """Whether the package declares tasks."""
        return manifest.capabilities.task_api or bool(manifest.capabilities.declared_task_count)

    def measure(self, subject: Subject, episodes: Episodes, finding: Finding) -> None:
        """Ask the task API."""
        finding.remediation = "Declare in capabilities.declared_task_count the splits and counts of the task API."
        api = TaskApi(episodes.base_url, subject.manifest.name, episodes.headers)
        declared, splits = subject.manifest.capabilities.declared_task_count, api.splits()
        if set(splits) != set(declared) or len(set(splits)) < len(splits):
            finding.problems.append(f"declared are the splits {sorted(declared)}, listed are {splits}")
        ids: list[str] = []
        for split in splits:
            rows = list(_rows(api, split))
            ids += [str(row.get("id")) for row in rows]
            finding.measured[split] = len(rows)
            if len(rows) != declared.get(split, len(rows)):
                finding.problems.append(f"{split}: {declared[split]} tasks are declared, {len(rows)} are listed")
            finding.problems += _unlike_rows(api, split, rows)
        twice = sorted({one for one in ids if ids.count(one) > 1}) if len(set(ids)) < len(ids) else []
        finding.problems += [f"two tasks have the id {one}" for one in twice[:SHOWN]]
        if subject.manifest.capabilities.oracle is not None:
            unlisted = [oracle.name for oracle in episodes.oracles() if oracle.name not in set(ids)]
            finding.problems += [f"an oracle is for the task {name}, which is not listed" for name in unlisted[:SHOWN]]
        finding.evidence.append(f"tasks by split: {finding.measured}; {len(ids)} ids, an index past the end is refused")


def with_seed(calls: CallList, seed: int) -> CallList:
    """Return the same calls with another seed."""
    return replace(calls, reset={**calls.reset, "seed": seed})


def _rows(api: TaskApi, split: str) -> Iterator[dict[str, Any]]:
    count = api.count(split)
    for start in range(0, count, PAGE):
        yield from api.tasks(split, start, min(start + PAGE, count))


def _unlike_rows(api: TaskApi, split: str, rows: list[dict[str, Any]]) -> list[str]:
    """Where the task API contradicts itself: single tasks, and the index past the end."""
    found = []
    if len(rows) != api.count(split):
        found.append(f"{split}: num_tasks says {api.count(split)}, and {len(rows)} tasks are listed")
    for index in sorted({0, len(rows) // 2, len(rows) - 1} & set(range(len(rows)))):
        if api.task(split, index) != rows[index]:
            found.append(f"{split}: task {index} is not the one that the list has there")
    if api.task(split, len(rows)) is not None:
        found.append(f"{split}: task {len(rows)}, past the end, is not refused")
    return found
