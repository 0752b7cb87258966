"""What this environment declares, and the graders on its server."""

import json
import shutil
from pathlib import Path

import pytest
from openenv.validation.graders import Subject
from openenv.validation.manifest import NormalizedManifest
from openenv.validation.parsers.openenv_yaml import OpenEnvYamlParser
from openenv.validation.types import CheckStatus, Verdict

from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.history import Snapshot
from ml_trainer_env.server.tuning.named_tasks import TASKS
from ml_trainer_env.server.tuning.reference import FLOOR
from ml_trainer_env.server.tuning.rewards import Transition, episode_reward
from ml_trainer_env.server.tuning.tools import TOOLS
from ml_trainer_env.validation.cli import OWN_VARIABLES, RunningUrl
from ml_trainer_env.validation.declarations import DO_NOTHING, CallList, read_canaries, read_oracles
from ml_trainer_env.validation.leak_checks import OracleContainment
from ml_trainer_env.validation.process import ServerProcess
from ml_trainer_env.validation.runner import rendered, validate
from ml_trainer_env.validation.runtime_checks import TaskDeclarationAccuracy, ToolDeclarationAccuracy
from ml_trainer_env.validation.semantic_checks import FloorGap, OracleMax
from ml_trainer_env.validation.tables import read_references

ROOT = Path(__file__).resolve().parents[2]
FEW_EPOCHS = 3


@pytest.fixture(scope="module")
def manifest() -> NormalizedManifest:
    return OpenEnvYamlParser().parse(ROOT)


@pytest.fixture(scope="module")
def oracles(manifest: NormalizedManifest) -> list[CallList]:
    return read_oracles(ROOT, manifest.capabilities.oracle.location)


@pytest.fixture(scope="module")
def small_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our package, with a short oracle of the easy task alone."""
    package = tmp_path_factory.mktemp("package")
    for name in ("openenv.yaml", "Dockerfile", ".dockerignore", "validation/canaries.json", "validation/runtime.json"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, package / name)
    entry = json.loads((ROOT / "validation/oracles/easy_mnist.json").read_text())
    entry["calls"][1]["arguments"]["num_epochs"] = FEW_EPOCHS
    del entry["calls"][2]
    file = package / "validation/oracles/easy_mnist.json"
    file.parent.mkdir()
    file.write_text(json.dumps({**entry, "max_reward": 0.3}))
    return package


@pytest.fixture(scope="module")
def subject(small_package: Path, manifest: NormalizedManifest, live_server: str) -> Subject:
    return Subject(small_package, manifest, None, RunningUrl(live_server, {}), small_package / "outputs")


def test_each_named_task_has_an_oracle_within_the_tolerance(
    oracles: list[CallList], manifest: NormalizedManifest
) -> None:
    named = {oracle.name: oracle for oracle in oracles if not oracle.group}

    assert set(named) == set(TASKS)
    for oracle in named.values():
        assert oracle.recorded[-1] >= 1.0 - manifest.reward.oracle_tolerance
        assert oracle.reset == {"task_id": oracle.name, "seed": TASKS[oracle.name].seed}


def test_each_oracle_of_the_family_was_paid_the_maximum_within_its_tolerance(oracles: list[CallList]) -> None:
    drawn = [oracle for oracle in oracles if oracle.group]

    assert len(drawn) >= 768
    assert [one.name for one in drawn if one.recorded[-1] < one.max_reward - max(one.tolerance, 0.1)] == []


def test_recorded_rewards_are_in_the_declared_range(oracles: list[CallList], manifest: NormalizedManifest) -> None:
    low, high = manifest.reward.range

    assert all(oracle.recorded for oracle in oracles)
    assert all(low <= reward <= high for oracle in oracles for reward in oracle.recorded)


def test_the_declared_range_is_what_a_call_can_be_paid_by_the_rubrics_of_the_tasks(
    manifest: NormalizedManifest,
) -> None:
    nothing = Snapshot()
    worst = Snapshot(epochs=1, val_loss=9.0, best_val_accuracy=0.0, gap=1.0, divergences=1)
    before = Snapshot(epochs=1, val_loss=9.0)
    best = Snapshot(epochs=2, val_loss=0.0, best_val_loss=0.0, best_val_accuracy=1.0, gap=0.0)
    by_v1, by_v3 = episode_reward(RubricVersion.V1), episode_reward(RubricVersion.V3)

    lowest = min(by_v1(None, Transition(nothing, worst)), by_v3(None, Transition(nothing, worst, score=FLOOR)))
    highest = max(by_v1(None, Transition(before, best, score=0.9999)), by_v3(None, Transition(before, best, score=1.0)))

    low, high = manifest.reward.range
    assert low == pytest.approx(lowest, abs=0.01)
    assert high == pytest.approx(highest, abs=0.01)
    assert low <= lowest <= highest <= high


def test_canaries_leave_the_batch_size_alone_since_tasks_limit_it(manifest: NormalizedManifest) -> None:
    canaries = read_canaries(ROOT, manifest.capabilities.canaries)

    assert not any("batch_size" in action["arguments"] for canary in canaries for action in canary.actions)


def test_canaries_and_references_call_tools_that_there_are(manifest: NormalizedManifest) -> None:
    canaries = read_canaries(ROOT, manifest.capabilities.canaries)
    references = [policy.calls for policy in read_references(ROOT / "validation/references.json")]

    assert canaries[0].name == DO_NOTHING
    assert all(canary.reason for canary in canaries)
    called = {action["tool_name"] for calls in (*canaries, *references) for action in calls.actions}
    assert called <= set(TOOLS.names)


@pytest.mark.parametrize(
    "grader",
    [
        ToolDeclarationAccuracy,
        TaskDeclarationAccuracy,
        OracleContainment,
        pytest.param(OracleMax, marks=pytest.mark.slow),
        FloorGap,
    ],
)
def test_our_server_passes_a_grader_on_the_easy_task(grader: type, subject: Subject) -> None:
    result = grader().run(subject)

    assert result.status is CheckStatus.PASS, result.evidence


@pytest.mark.slow
@pytest.mark.long
def test_our_package_passes_every_check_that_needs_no_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENENV_GRADERS_TASKS", "easy_mnist")

    report = validate(ROOT, lambda: ServerProcess(variables={**OWN_VARIABLES, "ML_TRAINER_DOWNLOAD": "no"}))

    statuses = {result.check_id: result.status for result in report.results}
    assert {CheckStatus.PASS, CheckStatus.SKIP} == set(statuses.values()), rendered(report)
    assert sum(status is CheckStatus.PASS for status in statuses.values()) == 18
    assert report.verdict is Verdict.WARN
