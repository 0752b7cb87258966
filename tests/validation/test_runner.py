"""Whole validations of the toy, records of its oracles, and the figures of level 4 over its wire."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from openenv.validation.types import CheckStatus, Verdict
from toy_environment import Flaw, RunningToy

from ml_trainer_env.validation.cli import main
from ml_trainer_env.validation.process import ServerProcess, ServerStartError
from ml_trainer_env.validation.runner import rendered, validate

NEED_MORE = {
    "runtime.network_policy",
    "runtime.host_containment",
    "runtime.resource_bounds",
    "runtime.trajectory_record",
    "semantic.verifier_portability",
}

LIGHT = """
import sys
import ml_trainer_env.validation.leak_checks, ml_trainer_env.validation.runtime_checks
import ml_trainer_env.validation.semantic_checks
heavy = {"torch", "numpy", "gradio", "pandas", "ml_trainer_env.server", "permuted_mnist"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.fixture
def own_package(package: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(package, tmp_path / "package"))


def test_an_honest_environment_passes_every_level(package: Path, toys: str) -> None:
    report = validate(package, lambda: Toy(toys))

    statuses = {result.check_id: result.status for result in report.results}
    assert {check for check, status in statuses.items() if status is CheckStatus.SKIP} == NEED_MORE
    assert set(statuses.values()) == {CheckStatus.PASS, CheckStatus.SKIP}
    assert report.verdict is Verdict.WARN
    assert "18 pass, 5 skip" in rendered(report)


def test_a_flaw_of_level_2_leaves_level_3_ungraded(package: Path, toys: str) -> None:
    report = validate(package, lambda: Toy(toys, Flaw.RANDOM))

    statuses = {result.check_id: result.status for result in report.results}
    assert statuses["runtime.episode_determinism"] is CheckStatus.FAIL
    assert statuses["semantic.oracle_max"] is CheckStatus.SKIP
    assert report.verdict is Verdict.FAIL


def test_checks_can_be_chosen_with_what_they_depend_on(package: Path, toys: str) -> None:
    report = validate(package, lambda: Toy(toys), only=["semantic.floor_gap"])

    assert [result.check_id for result in report.results] == [
        "runtime.startup",
        "runtime.episode_determinism",
        "semantic.floor_gap",
    ]


def test_an_environment_that_does_not_start_fails(package: Path) -> None:
    report = validate(package, lambda: ServerProcess([sys.executable, "-c", "print('out of order')"]))

    assert report.verdict is Verdict.FAIL
    assert any("out of order" in line for result in report.results for line in result.evidence)


def test_a_server_that_does_not_start_is_told_with_its_log() -> None:
    with pytest.raises(ServerStartError, match="out of order"):
        ServerProcess([sys.executable, "-c", "print('out of order')"])


@pytest.mark.parametrize("is_split", [False, True], ids=["a file of one task", "a file of a split"])
def test_a_record_has_what_the_calls_earned(is_split: bool, own_package: Path, toys: str) -> None:
    file = own_package / "oracles/plain.json"
    entry = json.loads(file.read_text())
    del entry["recorded"]
    if is_split:
        file.unlink()
        file = own_package / "oracles/plain.jsonl"
    file.write_text(json.dumps(entry))

    assert main(["record", "--url", f"{toys}/none", str(file)]) == 0

    assert json.loads(file.read_text())["recorded"] == {"verdict": 1.0, "return": 1.0, "rewards": [0.0, 1.0]}


def test_a_figure_of_level_4_is_printed(package: Path, toys: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["adversarial-floor", "--url", f"{toys}/tricked", "--package", str(package), "--quiet"])

    assert status == 0
    assert json.loads(capsys.readouterr().out)["adversarial-floor"]["worst"] == 1.0


def test_a_package_without_a_manifest_is_a_users_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["levels", "--url", "http://127.0.0.1:1", "--package", str(tmp_path)]) == 2
    assert "ml-trainer-validate: " in capsys.readouterr().err


def test_graders_load_nothing_of_any_server() -> None:
    fresh = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False)

    assert fresh.returncode == 0, fresh.stderr


class Toy(RunningToy):
    """A toy that others started."""

    def __init__(self, toys: str, flaw: Flaw = Flaw.NONE) -> None:
        super().__init__(f"{toys}/{flaw.value}")

    def inspect(self) -> dict[str, str]:
        return {"provider": "toy"}

    def stop(self) -> None:
        """Nothing to stop."""
