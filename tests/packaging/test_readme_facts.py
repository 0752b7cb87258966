"""README tells what there is: its lists are complete, its links lead somewhere, its snippets run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ml_trainer_env.baselines.settings import KEY_NAMES
from ml_trainer_env.models import TrainingStatus
from ml_trainer_env.server.tuning.tasks import TASKS
from ml_trainer_env.server.tuning.tools import TOOLS


@pytest.fixture
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text(encoding="utf-8")


def test_the_front_matter_is_that_of_a_container_space(readme: str) -> None:
    front = yaml.safe_load(readme.split("---\n")[1])

    assert (front["sdk"], front["app_port"], front["base_path"]) == ("docker", 8000, "/web")
    assert "openenv" in front["tags"]
    assert front["title"] == "ML Training Optimizer"
    assert len(front["emoji"]) > 0


@pytest.mark.parametrize("name", [*TASKS, *TOOLS.names, *TrainingStatus.model_fields, *KEY_NAMES])
def test_a_task_tool_field_or_key_is_named(readme: str, name: str) -> None:
    assert f"`{name}`" in readme


def test_every_setting_of_the_server_is_named(readme: str, repository: Path) -> None:
    source = (repository / "server/settings.py").read_text(encoding="utf-8")
    settings = set(re.findall(r"read\.\w+\(\"([A-Z_]+)\"", source))

    assert len(settings) > 5
    assert {name for name in settings if f"`ML_TRAINER_{name}`" not in readme} == set()


def test_every_make_command_it_names_is_one(readme: str, repository: Path) -> None:
    commands = set(re.findall(r"^([a-z-]+):", (repository / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    named = set(re.findall(r"(?:`|^    )make ([a-z-]+)", readme, re.MULTILINE))

    assert {"demo", "test", "serve", "data"} <= named <= commands


def test_links_into_the_repository_lead_somewhere(readme: str, repository: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", readme)

    assert [target for target in targets if not (repository / target).exists()] == []


def test_nothing_is_left_to_be_filled_in(readme: str) -> None:
    assert re.findall(r"\{\{\w+\}\}|TODO", readme) == []


def test_the_snippet_of_the_asynchronous_client_runs(readme: str, live_server: str, tmp_path: Path) -> None:
    block = re.search(r"<!-- snippet: async client -->\n```python\n(.*?)```", readme, re.DOTALL)
    assert block
    program = block[1].replace("http://localhost:8000", live_server)

    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path, env=os.environ
    )

    assert run.returncode == 0, run.stderr
    assert "'generalization_score'" in run.stdout
