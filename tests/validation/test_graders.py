"""Each grader passes an honest environment, and sees the flaw that it is for."""

import json
import shutil
from importlib.metadata import entry_points

import pytest
from openenv.validation.graders import Grader, GraderRegistry
from openenv.validation.policy import load_policy
from openenv.validation.types import CheckStatus
from toy_environment import Flaw

SEEN_BY = {
    Flaw.WEAK_ORACLE: "semantic.oracle_max",
    Flaw.PAYS_FOR_NOTHING: "semantic.floor_gap",
    Flaw.TRICKED: "semantic.canary_floor",
    Flaw.LEAKS: "semantic.no_solution_leakage",
    Flaw.MOODY: "semantic.verifier_determinism",
    Flaw.DRIFTED: "semantic.replayability",
    Flaw.RANDOM: "runtime.episode_determinism",
    Flaw.DEAF_TO_SEEDS: "runtime.seed_control",
    Flaw.SHARED: "runtime.episode_isolation",
    Flaw.LEFTOVERS: "runtime.episode_isolation",
    Flaw.SERVES_ORACLE: "runtime.oracle_containment",
    Flaw.HIDDEN_TOOL: "runtime.tool_declaration_accuracy",
    Flaw.LOST_TASK: "runtime.task_declaration_accuracy",
}
OTHERWISE_SEEN = {"semantic.resource_envelope"}


@pytest.fixture(scope="module")
def graders() -> dict[str, Grader]:
    """The graders that OpenEnv finds through their entry points, by check."""
    registry = GraderRegistry()
    loaded = registry.load_entry_points()
    names = [one.name for one in entry_points(group="openenv.validation.graders")]
    assert loaded == len(names)
    return {name: registry.get(name) for name in names}


def test_there_is_a_grader_for_each_flaw_and_a_flaw_for_each_grader(graders) -> None:
    assert set(graders) == set(SEEN_BY.values()) | OTHERWISE_SEEN


def test_the_graders_are_of_the_checks_and_levels_of_the_policy(graders) -> None:
    levels = {entry.check_id: entry.level for entry in load_policy("v2").entries}

    assert {name: grader.level for name, grader in graders.items()} == {name: levels[name] for name in graders}
    assert {grader.check_id for grader in graders.values()} == set(graders)


@pytest.mark.parametrize("check", sorted({*SEEN_BY.values(), *OTHERWISE_SEEN}))
def test_an_honest_environment_passes(check, graders, subject_of) -> None:
    result = graders[check].run(subject_of())

    assert result.status is CheckStatus.PASS, result.evidence
    assert result.evidence
    assert result.remediation is None


@pytest.mark.parametrize(("flaw", "check"), SEEN_BY.items())
def test_a_flaw_is_seen_by_its_grader(flaw, check, graders, subject_of) -> None:
    result = graders[check].run(subject_of(flaw))

    assert result.status is CheckStatus.FAIL, result.evidence
    assert result.remediation


@pytest.mark.parametrize(("tolerance", "status"), [(0.4, CheckStatus.FAIL), (0.5, CheckStatus.PASS)])
@pytest.mark.parametrize("flaw", [Flaw.WEAK_ORACLE, Flaw.DRIFTED])
def test_a_list_may_tolerate_more_than_the_manifest(
    flaw, tolerance, status, graders, subject_of, package, tmp_path
) -> None:
    lenient = tmp_path / "package"
    shutil.copytree(package, lenient)
    for file in (lenient / "oracles").iterdir():
        file.write_text(json.dumps({**json.loads(file.read_text()), "tolerance": tolerance}))

    result = graders[SEEN_BY[flaw]].run(subject_of(flaw, lenient))

    assert result.status is status, result.evidence


@pytest.mark.parametrize(("idle", "status"), [(False, CheckStatus.FAIL), (True, CheckStatus.PASS)])
def test_where_doing_nothing_is_the_solution_nothing_need_be_below_it(
    idle, status, graders, subject_of, package, tmp_path
) -> None:
    other = tmp_path / "package"
    shutil.copytree(package, other)
    for file in (other / "oracles").iterdir():
        file.write_text(json.dumps({**json.loads(file.read_text()), "idle": idle}))

    result = graders["semantic.floor_gap"].run(subject_of(Flaw.PAYS_FOR_NOTHING, other))

    assert result.status is status, result.evidence


@pytest.mark.parametrize(("when", "status"), [({}, CheckStatus.FAIL), ({"rubric": "v1"}, CheckStatus.SKIP)])
def test_a_canary_counts_where_the_reset_is_as_it_says(when, status, graders, subject_of, package, tmp_path) -> None:
    narrow = tmp_path / "package"
    shutil.copytree(package, narrow)
    file = narrow / "canaries.json"
    declared = json.loads(file.read_text())
    for canary in declared["canaries"]:
        if canary["name"] == "wildcard":
            canary["when"] = when
    file.write_text(json.dumps(declared))

    result = graders["semantic.canary_floor"].run(subject_of(Flaw.TRICKED, narrow))

    assert result.status is status, result.evidence


def test_a_canary_that_chance_pays_is_played_with_other_seeds_and_passes(graders, subject_of) -> None:
    result = graders["semantic.canary_floor"].run(subject_of(Flaw.LUCKY))

    assert result.status is CheckStatus.PASS, result.evidence
    assert any("canary wildcard is paid 1.0000" in line and "0.0000 in the mean" in line for line in result.evidence)


def test_memory_above_the_declared_is_seen(graders, subject_of) -> None:
    result = graders["semantic.resource_envelope"].run(subject_of(memory_mb=2048.0))

    assert result.status is CheckStatus.FAIL
    assert result.evidence[0] == "memory_mb: 2048.00 of 1024"
