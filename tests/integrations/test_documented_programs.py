"""The programs of docs/agents.md that need no other library run; those that need one run in its tests."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from chat_server import ChatServer

Program = Callable[..., str]


def run(text: str, folder: Path, **variables: str) -> str:
    """Run a program in a process of its own. Returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "NO_PROXY": "*", **variables},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow  # importing OpenEnv's harness in a new process takes seconds
def test_openenvs_collector_writes_the_episodes(
    live_server: str, chat: ChatServer, program: Program, tmp_path: Path
) -> None:
    for _ in range(2):
        chat.calls("run_epochs", num_epochs=1)
        chat.calls("submit_model")
    text = program("openenv harness", {"http://localhost:8000": live_server, "http://localhost:9000/v1": chat.url})

    printed = run(text, tmp_path)

    lines = (tmp_path / "rollouts" / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert "num_collected=2" in printed
    assert [json.loads(line)["artifacts"]["task_id"] for line in lines] == [
        "tuning/validation/0",
        "tuning/validation/1",
    ]


def test_the_data_set_of_nemo_gym_has_the_tools(live_server: str, program: Program, tmp_path: Path) -> None:
    run(program("nemo gym"), tmp_path, ENV_URL=live_server)

    (line,) = (tmp_path / "ml_trainer.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(json.loads(line)["responses_create_params"]["tools"]) == 9
