"""OpenEnv's own validation: the manifest, a running server, and an episode played by our probe plan."""

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openenv.cli._validation import validate_running_environment
from openenv.validation.graders import Subject
from openenv.validation.graders.runtime import (
    ObservationSchemaGrader,
    RewardWellFormedGrader,
    StateContractGrader,
)
from openenv.validation.manifest import NormalizedManifestV2
from openenv.validation.parsers.openenv_yaml import OpenEnvYamlParser
from openenv.validation.runtime.collector import collect_runtime_evidence
from openenv.validation.runtime.contracts import RuntimeEvidence, load_runtime_plan
from openenv.validation.types import CheckStatus

from ml_trainer_env.server.tuning.catalogue import SPLITS, count_tasks
from ml_trainer_env.server.tuning.game import TuningGame
from ml_trainer_env.server.tuning.tools import TOOLS

EPISODE_TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def manifest(repository: Path) -> NormalizedManifestV2:
    parsed = OpenEnvYamlParser().parse(repository)
    assert isinstance(parsed, NormalizedManifestV2)
    return parsed


@pytest.fixture(scope="module")
def evidence(repository: Path, manifest: NormalizedManifestV2, live_server: str) -> RuntimeEvidence:
    """An episode, played on a live server as the probe plan says."""
    plan = load_runtime_plan(repository, manifest.execution)
    with warnings.catch_warnings(category=DeprecationWarning, action="ignore"):  # OpenEnv's, of websockets
        return collect_runtime_evidence(live_server, plan, episode_timeout_s=EPISODE_TIMEOUT_S)


@pytest.mark.slow
def test_the_package_passes_the_static_level(source_copy: Path) -> None:
    report = _validate(str(source_copy), "--level", "static", "--skip-build")

    assert report["verdict"] == "pass"
    assert [(result["check_id"], result["status"]) for result in report["results"]] == [("static.manifest", "pass")]


def test_the_tree_holds_no_links(source_copy: Path) -> None:
    assert [path for path in source_copy.rglob("*") if path.is_symlink()] == []


@pytest.mark.parametrize(
    "validate",
    [
        pytest.param(lambda url: validate_running_environment(url, timeout_s=30.0), id="function"),
        pytest.param(lambda url: _validate("--url", url, "--timeout", "30"), id="command", marks=pytest.mark.slow),
    ],
)
def test_a_running_server_meets_all_criteria(live_server: str, validate: Callable[[str], dict[str, Any]]) -> None:
    report = validate(live_server)

    assert report["passed"]
    assert (report["summary"]["passed_count"], report["summary"]["total_count"]) == (6, 6)
    assert report["mode"] == "simulation"


@pytest.mark.slow
def test_the_probe_plan_plays_an_episode_to_its_end(evidence: RuntimeEvidence) -> None:
    replies = [json.loads(one.response_json)["data"] for one in evidence.exchanges if one.operation == "step"]

    assert evidence.failure_reason is None
    assert [reply["done"] for reply in replies] == [False] * (len(replies) - 1) + [True]
    assert sum(reply["observation"]["error"] is not None for reply in replies) == 2  # it asks for what is refused


@pytest.mark.parametrize("grader", [RewardWellFormedGrader, ObservationSchemaGrader, StateContractGrader])
def test_an_episode_on_a_live_server_passes_the_runtime_grader(
    grader: type, evidence: RuntimeEvidence, manifest: NormalizedManifestV2, repository: Path, tmp_path: Path
) -> None:
    subject = Subject(repository, manifest, None, None, tmp_path, runtime_evidence=evidence)

    result = grader().run(subject)

    assert result.status is CheckStatus.PASS, result.evidence


def test_the_manifest_declares_the_tools_and_tasks_there_are(manifest: NormalizedManifestV2) -> None:
    assert manifest.capabilities.declared_tools == list(TOOLS.names)
    assert manifest.capabilities.declared_task_count == {split: count_tasks(split) for split in SPLITS}


def test_the_manifest_names_what_the_environment_is_called(
    manifest: NormalizedManifestV2, project: dict[str, dict[str, str]]
) -> None:
    about = TuningGame.about

    assert (manifest.name, manifest.version) == (about.name, about.version)
    assert manifest.version == project["project"]["version"]


def _validate(*arguments: str) -> dict:
    command = [sys.executable, "-m", "openenv.cli", "validate", *arguments, "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(run.stdout)
