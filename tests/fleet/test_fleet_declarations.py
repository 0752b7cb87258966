"""What the package of the fleet declares, and the graders on a server that has it at its path."""

import json
from pathlib import Path

import pytest
from openenv.validation.graders import Subject
from openenv.validation.manifest import NormalizedManifest
from openenv.validation.parsers.openenv_yaml import OpenEnvYamlParser
from openenv.validation.types import CheckStatus

from ml_trainer_env.server.fleet.tasks import NAMED, count_tasks, task_at
from ml_trainer_env.server.fleet.tools import TOOLS
from ml_trainer_env.validation.cli import OWN_VARIABLES, RunningUrl
from ml_trainer_env.validation.declarations import DO_NOTHING, CallList, read_canaries, read_oracles
from ml_trainer_env.validation.leak_checks import OracleContainment
from ml_trainer_env.validation.process import ServerProcess
from ml_trainer_env.validation.runner import rendered, validate
from ml_trainer_env.validation.runtime_checks import TaskDeclarationAccuracy, ToolDeclarationAccuracy

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "fleet"
LEAST_RECOVERED = 0.7


@pytest.fixture(scope="module")
def manifest() -> NormalizedManifest:
    return OpenEnvYamlParser().parse(PACKAGE)


@pytest.fixture(scope="module")
def oracles(manifest: NormalizedManifest) -> list[CallList]:
    return read_oracles(PACKAGE, manifest.capabilities.oracle.location)


def test_each_named_task_has_an_oracle_that_recovers_most_of_the_harm(
    oracles: list[CallList], manifest: NormalizedManifest
) -> None:
    tasks = {task.id: task for task in (task_at(NAMED, index) for index in range(count_tasks(NAMED)))}

    assert {oracle.name for oracle in oracles} == set(tasks)
    for oracle in oracles:
        recorded = json.loads((PACKAGE / f"validation/oracles/{oracle.name}.json").read_text())["recorded"]
        assert oracle.reset == {"task_id": oracle.name, "seed": tasks[oracle.name].seed}
        assert recorded["score"] >= LEAST_RECOVERED
        assert recorded["return"] == pytest.approx(recorded["score"], abs=1e-5)
        assert 0 <= oracle.max_reward - oracle.recorded[-1] <= manifest.reward.oracle_tolerance


def test_nothing_is_to_be_done_where_nothing_is_wrong_alone(oracles: list[CallList]) -> None:
    assert [oracle.name for oracle in oracles if oracle.idle] == ["fleet_nothing_wrong"]


def test_recorded_rewards_are_in_the_declared_range(oracles: list[CallList], manifest: NormalizedManifest) -> None:
    low, high = manifest.reward.range

    assert all(low <= reward <= high for oracle in oracles for reward in oracle.recorded)


def test_oracles_and_canaries_call_tools_that_there_are(oracles: list[CallList], manifest: NormalizedManifest) -> None:
    canaries = read_canaries(PACKAGE, manifest.capabilities.canaries)

    assert canaries[0].name == DO_NOTHING
    assert all(canary.reason for canary in canaries)
    for calls in (*oracles, *canaries):
        for action in calls.actions:
            TOOLS.find(action["tool_name"]).read(action["arguments"])


def test_no_solution_is_sent_to_a_build() -> None:
    sent = (ROOT / ".dockerignore").read_text().splitlines()

    assert not [line for line in sent if line.startswith("!fleet/") or "oracles" in line or "canaries" in line]


@pytest.mark.parametrize(
    "grader",
    [
        pytest.param(ToolDeclarationAccuracy, marks=pytest.mark.slow),
        pytest.param(TaskDeclarationAccuracy, marks=pytest.mark.slow),
        OracleContainment,
    ],
)
def test_the_fleet_at_its_path_passes_a_grader_of_its_package(
    grader: type, manifest: NormalizedManifest, live_server: str, tmp_path: Path
) -> None:
    result = grader().run(Subject(PACKAGE, manifest, None, RunningUrl(f"{live_server}/fleet", {}), tmp_path))

    assert result.status is CheckStatus.PASS, result.evidence


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_the_package_of_the_fleet_passes_every_check_that_needs_no_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the cache, so that the references of a task are trained once on each of the two servers."""
    monkeypatch.setenv("OPENENV_GRADERS_TASKS", "fleet_loader_stall,fleet_nothing_wrong")
    variables = {**OWN_VARIABLES, "ML_TRAINER_CACHE": "yes", "ML_TRAINER_DOWNLOAD": "no"}

    report = validate(PACKAGE, lambda: ServerProcess(variables=variables, path="/fleet"))

    statuses = {result.check_id: result.status for result in report.results}
    assert {CheckStatus.PASS, CheckStatus.SKIP} == set(statuses.values()), rendered(report)
    assert sum(status is CheckStatus.PASS for status in statuses.values()) >= 17
