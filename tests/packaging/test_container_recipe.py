"""Facts of the Dockerfile that the machine which runs it relies on. Nothing is built here."""

import re
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def recipe(repository: Path) -> str:
    text = (repository / "Dockerfile").read_text(encoding="utf-8")
    joined = text.replace("\\\n", " ")
    return "\n".join(line for line in joined.splitlines() if not line.lstrip().startswith("#"))


@pytest.fixture
def last_stage(recipe: str) -> str:
    return recipe[recipe.rindex("\nFROM ") :]


def test_the_container_runs_as_a_user_without_rights(last_stage: str) -> None:
    user = re.findall(r"^USER (\d+)", last_stage, re.MULTILINE)

    assert user
    assert int(user[-1]) > 0


def test_the_container_tells_whether_it_is_healthy(last_stage: str) -> None:
    assert re.search(r"^HEALTHCHECK .*/health", last_stage, re.MULTILINE)


def test_the_container_serves_to_the_outside_on_the_port_it_exposes(last_stage: str) -> None:
    assert re.search(r"^EXPOSE 8000$", last_stage, re.MULTILINE)
    assert '"0.0.0.0", "--port", "8000"' in last_stage


def test_torch_is_the_cpu_build_unless_asked_otherwise(recipe: str) -> None:
    assert re.search(r"^ARG TORCH_BACKEND=cpu$", recipe, re.MULTILINE)
    assert '--torch-backend "$TORCH_BACKEND"' in recipe


def test_nothing_that_is_written_at_run_time_is_copied_in(recipe: str) -> None:
    assert not re.search(r"^COPY .*\b(outputs|\.env)\b", recipe, re.MULTILINE)


def test_the_sandbox_of_the_challenge_is_in_the_image(last_stage: str) -> None:
    installed = re.search(r"apt-get install [^&]*", last_stage)

    assert installed
    assert {"bubblewrap", "libseccomp2"} <= set(installed[0].split())


def test_the_image_bears_the_version_of_the_package(last_stage: str, project: dict[str, Any]) -> None:
    assert f'image.version="{project["project"]["version"]}"' in last_stage
