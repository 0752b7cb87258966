"""The container commands in docs/server.md do what it says. `docker` is a program that notes how it is called."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

DOCKER = """#!/usr/bin/env bash
printf '%s\\n' "$@" --end-of-command >>"$CALLS"
"""


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs/server.md").read_text(encoding="utf-8")


@pytest.fixture
def block(page: str) -> str:
    """The lines that build and run the server's image."""
    found = re.search(r"(?:^    .*\n)*^    docker run .*-p 8000:8000.*\n(?:^    .*\n)*", page, re.MULTILINE)
    assert found
    return found[0]


def calls_of_docker(shell: str, folder: Path, repository: Path) -> tuple[list[list[str]], list[str]]:
    """Run lines of shell. Returns the arguments of each call of docker, and the lines that were printed."""
    (folder / "docker").write_text(DOCKER)
    (folder / "docker").chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "CALLS": str(folder / "calls")}
    ran = subprocess.run(
        ["bash", "-euc", shell], cwd=repository, env=environment, check=True, capture_output=True, text=True
    )
    calls = (folder / "calls").read_text().split("\n--end-of-command\n")[:-1]
    return [call.split("\n") for call in calls], ran.stdout.splitlines()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_server_is_given_a_token_that_is_printed(block: str, repository: Path, tmp_path: Path) -> None:
    calls, printed = calls_of_docker(block, tmp_path, repository)

    run = calls[-1]
    (token,) = [word.removeprefix("ML_TRAINER_TOKEN=") for word in run if word.startswith("ML_TRAINER_TOKEN=")]
    assert run[0] == "run"
    assert re.fullmatch(r"[0-9a-f]{32}", token)
    assert printed == [token]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_image_that_is_built_is_the_one_that_is_run(block: str, repository: Path, tmp_path: Path) -> None:
    (build, run), _ = calls_of_docker(block, tmp_path, repository)

    assert build[:3] == ["build", "-f", "server/Dockerfile"]
    assert build[build.index("-t") + 1] == run[-1]
    assert build[-1] == "."
    assert (repository / "server/Dockerfile").is_file()


def test_an_agent_in_a_container_is_given_namespaces_by_options_that_are_named(page: str) -> None:
    evaluated = re.findall(r"^    ((?:docker|podman) run (?:.*\\\n)*.*permuted-mnist evaluate.*)$", page, re.MULTILINE)
    options = {command.split()[0]: set(re.findall(r"--security-opt (\S+)", command)) for command in evaluated}

    assert options == {
        "docker": {"seccomp=unconfined", "systempaths=unconfined", "apparmor=unconfined"},
        "podman": {"seccomp=unconfined", "unmask=ALL"},
    }
