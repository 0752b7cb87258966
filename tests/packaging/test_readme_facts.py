"""README and docs/ are complete, their links lead somewhere, and their snippets run."""

import os
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from ml_trainer_env.baselines.settings import KEY_NAMES
from ml_trainer_env.models import TrainingStatus
from ml_trainer_env.server.tuning.named_tasks import TASKS
from ml_trainer_env.server.tuning.tools import TOOLS

LONGEST_README = 200
"""Lines."""
LARGEST_PICTURE = 80_000
"""Bytes."""
HISTORY = ("docs/lab-notes.md", "docs/regressions.md")
"""Pages that name files as they were."""


@pytest.fixture
def readme(documents: dict[str, str]) -> str:
    return documents["README.md"]


def names_of_anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def snippet(text: str, name: str) -> str:
    """The program below a comment that names it."""
    block = re.search(rf"<!-- snippet: {name} -->\n```python\n(.*?)```", text, re.DOTALL)
    assert block, f"there is no snippet {name!r}"
    return block[1]


def run_program(program: str, folder: Path) -> str:
    """Run a program in a process of its own. Returns what it printed."""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=folder, env=os.environ
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_front_matter_is_that_of_a_container_space(readme: str) -> None:
    front = yaml.safe_load(readme.split("---\n")[1])

    assert (front["sdk"], front["app_port"], front["base_path"]) == ("docker", 8000, "/web")
    assert "openenv" in front["tags"]
    assert front["title"] == "ML Training Optimizer"
    assert len(front["emoji"]) > 0


def test_readme_is_short(readme: str) -> None:
    assert len(readme.splitlines()) <= LONGEST_README


@pytest.mark.parametrize("name", TASKS)
def test_readme_and_the_page_of_tasks_name_each_task(documents: dict[str, str], name: str) -> None:
    assert f"`{name}`" in documents["README.md"]
    assert f"`{name}`" in documents["docs/tasks.md"]


@pytest.mark.parametrize("name", [*TOOLS.names, *TrainingStatus.model_fields])
def test_the_page_of_tools_names_each_tool_and_field(documents: dict[str, str], name: str) -> None:
    assert f"`{name}`" in documents["docs/tools.md"]


@pytest.mark.parametrize("name", KEY_NAMES)
def test_the_page_of_agents_names_each_key(documents: dict[str, str], name: str) -> None:
    assert f"`{name}`" in documents["docs/agents.md"]


def test_the_page_of_the_server_names_each_setting(documents: dict[str, str], repository: Path) -> None:
    source = (repository / "server/settings.py").read_text(encoding="utf-8")
    settings = set(re.findall(r"read\.\w+\(\"([A-Z_]+)\"", source))

    assert len(settings) > 5
    assert {name for name in settings if f"`ML_TRAINER_{name}`" not in documents["docs/server.md"]} == set()


def test_each_command_of_the_package_is_named(documents: dict[str, str], project: dict[str, Any]) -> None:
    text = "\n".join(documents.values())

    assert [name for name in project["project"]["scripts"] if f"uv run {name}" not in text] == ["ml-trainer-play"]
    assert "ml-trainer-play" in documents["docs/agents.md"]


def test_every_make_command_that_is_named_exists(documents: dict[str, str], repository: Path) -> None:
    commands = set(re.findall(r"^([a-z-]+):", (repository / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        path: set(re.findall(r"(?:`|^    )make ([a-z-]+)", text, re.MULTILINE)) for path, text in documents.items()
    }

    assert {"demo", "test", "serve"} <= named["README.md"]
    assert "data" in named["docs/tasks.md"]
    assert {path: names - commands for path, names in named.items() if names - commands} == {}


def test_links_into_the_repository_lead_somewhere(documents: dict[str, str], repository: Path) -> None:
    broken = []
    for path, text in documents.items():
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
            linked = (repository / PurePosixPath(path).parent / target).resolve() if target else repository / path
            if not linked.exists():
                broken.append(f"{path}: {target}")
            elif anchor and anchor not in names_of_anchors(linked.read_text(encoding="utf-8")):
                broken.append(f"{path}: {target}#{anchor}")

    assert broken == []


def test_the_files_of_the_repository_that_are_named_exist(documents: dict[str, str], repository: Path) -> None:
    pages = {path: text for path, text in documents.items() if path not in HISTORY}
    pattern = r"\b((?:server|scripts|benchmarks)/[\w/]+\.\w+)"
    named = {(path, name) for path, text in pages.items() for name in re.findall(pattern, text)}

    assert len(named) > 3
    assert [f"{path}: {name}" for path, name in sorted(named) if not (repository / name).exists()] == []


def test_readme_shows_a_small_picture_of_a_run(readme: str, repository: Path) -> None:
    pictures = re.findall(r"!\[[^]]{20,}\]\(([^)]+)\)", readme)

    assert len(pictures) == 1
    assert (repository / pictures[0]).stat().st_size < LARGEST_PICTURE


def test_nothing_is_left_to_be_filled_in(documents: dict[str, str]) -> None:
    assert re.findall(r"\{\{\w+\}\}|TODO", "\n".join(documents.values())) == []


@pytest.mark.slow
def test_the_snippet_of_the_asynchronous_client_runs(
    documents: dict[str, str], live_server: str, tmp_path: Path
) -> None:
    program = snippet(documents["docs/python.md"], "async client").replace("http://localhost:8000", live_server)

    assert "'generalization_score'" in run_program(program, tmp_path)


def test_the_snippet_of_the_challenge_runs(readme: str, tmp_path: Path) -> None:
    accuracies = [float(line) for line in run_program(snippet(readme, "permuted mnist"), tmp_path).splitlines()]

    assert len(accuracies) == 2
    assert min(accuracies) > 0.7
