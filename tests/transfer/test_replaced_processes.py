"""A server process is killed, and its episode goes on in another process, on another database."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ml_trainer_env import FleetEnv, MLTrainerEnv

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]
"""On a busy machine each start takes minutes."""

THREADS = {"ML_TRAINER_TORCH_THREADS": "1", "ML_TRAINER_WORKERS": "1"}

TUNING: Any = (
    MLTrainerEnv,
    "",
    "tuning/train/11",
    [
        ("configure_training", {"optimizer": "adam", "learning_rate": 0.002}),
        ("run_epochs", {"num_epochs": 2}),
        ("save_checkpoint", {"name": "a"}),
        ("run_epochs", {"num_epochs": 1}),
        ("restore_checkpoint", {"name": "a"}),
        ("run_epochs", {"num_epochs": 1}),
        ("submit_model", {}),
    ],
)
FLEET: Any = (
    FleetEnv,
    "/fleet",
    "fleet_sticky_node",
    [
        ("run_steps", {"num_steps": 12}),
        ("set_training", {"checkpoint_every": 4}),
        ("run_steps", {"num_steps": 6}),
        ("restart", {"checkpoint": "newest"}),
        ("run_steps", {"num_steps": 4}),
    ],
)


def journal(variables: dict[str, str], *arguments: str) -> str:
    """Run `ml-trainer-journal` in a process of its own, as an operator does. Returns what it printed."""
    program = [sys.executable, "-m", "ml_trainer_env.server.commands.journal", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ML_TRAINER_")}
    given = {**environment, **THREADS, "ML_TRAINER_DOWNLOAD": "no", **variables}
    done = subprocess.run(program, env=given, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def plain(answer: Any) -> Any:
    """A reply without what a clock measured."""
    if isinstance(answer, dict):
        return {key: plain(answer[key]) for key in answer if key not in {"from_cache", "epoch_time_s"}}
    return [plain(one) for one in answer] if isinstance(answer, list) else answer


@pytest.mark.parametrize("options", [(), ("--without-states",)], ids=["with states", "without states"])
@pytest.mark.parametrize("game", [TUNING, FLEET], ids=["tuning", "fleet"])
def test_an_episode_of_a_killed_process_goes_on_in_another_one_on_another_database(
    start_server: Callable[..., Any], postgresql: Any, tmp_path: Path, game: Any, options: tuple[str, ...]
) -> None:
    client, prefix, task, calls = game
    place = len(calls) // 2
    ours = {"ML_TRAINER_STATE_DIR": str(tmp_path / "old")}
    theirs = {"ML_TRAINER_STATE_DIR": str(tmp_path / "new"), "ML_TRAINER_DATABASE_URL": postgresql.new_database()}
    file = str(tmp_path / "file")

    with start_server(**THREADS, **ours) as old, client(base_url=f"{old.url}{prefix}") as env:
        env.reset(task_id=task, seed=3, episode_id="straight")
        straight = [plain(env.call_tool(tool, **arguments)) for tool, arguments in calls]
        env.reset(task_id=task, seed=3, episode_id="moved")
        moved = [plain(env.call_tool(tool, **arguments)) for tool, arguments in calls[:place]]
        old.process.kill()
        old.process.wait()
    journal(ours, "export-episode", "moved", "-o", file, *options)
    printed = journal(theirs, "import-episode", file)
    with start_server(**THREADS, **theirs) as new, client(base_url=f"{new.url}{prefix}") as env:
        env.resume("moved")
        moved += [plain(env.call_tool(tool, **arguments)) for tool, arguments in calls[place:]]

    assert printed == f"episode moved can be resumed here: {place} calls\n"
    assert moved == straight
