"""What `ml-trainer-journal export` writes for other people's viewers is read by their own programs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from served_here import served_here

from ml_trainer_env import MLTrainerEnv
from ml_trainer_env.client import ToolCallError

pytestmark = [pytest.mark.libraries, pytest.mark.timeout(1800)]

COMMAND = ("-m", "ml_trainer_env.server.commands.journal")
NEEDED = ("numpy", "sqlalchemy")
"""What the journal needs beside what the client needs."""

HOSTILE = "../<b>agent</b>"
"""A name that is no name of a file."""


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A state folder with the journal of three episodes, and the replies of the first one."""
    folder = tmp_path_factory.mktemp("state")
    replies: dict[str, Any] = {}
    with served_here(folder) as (address, _), MLTrainerEnv(base_url=f"http://{address}") as env:
        env.reset(task_id="easy_mnist", episode_id="first", agent="careful")
        env.explain("a rate that\nis *usual*")
        env.call_tool("configure_training", learning_rate=0.01)
        replies["trained"] = env.call_tool("run_epochs", num_epochs=2)
        with pytest.raises(ToolCallError):
            env.call_tool("configure_training", learning_rate=-1)
        replies["ended"] = env.call_tool("submit_model")
        for name in ("a:b", "a/b"):
            env.reset(task_id="easy_mnist", episode_id=name, agent=HOSTILE)
            env.call_tool("run_epochs", num_epochs=1)
            env.call_tool("submit_model")
    return folder, json.loads(json.dumps(replies, default=str))


def test_tensorboard_reads_figures_by_epoch_and_calls_as_texts(
    played: tuple[Path, dict[str, Any]], library_environment: Callable[..., Any], tmp_path: Path
) -> None:
    state, replies = played
    environment = library_environment("tensorboard", *NEEDED)
    runs = tmp_path / "runs"
    for _ in range(2):  # the second export replaces the first
        arguments = ("export", "--all", "--format", "tensorboard", "--output", str(runs))
        environment.call(*COMMAND, *arguments, ML_TRAINER_STATE_DIR=str(state))

    told = environment.run("read_tensorboard.py", str(runs))
    inspected = environment.call("-m", "tensorboard.main", "--inspect", "--logdir", str(runs))

    assert len(told) == 3
    assert {path.parent for path in runs.iterdir()} == {runs}
    first = told["first"]
    plugin, losses = first["val_loss"]
    assert (plugin, [step for step, _ in losses]) == ("scalars", [1, 2])
    told_losses = [row["val_loss"] for row in replies["trained"]["epochs"]]  # rounded to 4 digits
    assert [loss for _, loss in losses] == pytest.approx(told_losses, abs=1e-4)
    assert first["reward"][1][-1][1] == pytest.approx(replies["ended"]["reward"])
    plugin, calls = first["calls"]
    assert (plugin, len(calls)) == ("text", 4)
    assert calls[0][1][0].startswith(
        "    1. configure_training(learning_rate=0.01)\n\n    a rate that\n    is *usual*\n\n"
    )
    assert "val_accuracy" in inspected


def test_inspect_reads_each_call_with_its_reason_and_its_reply(
    played: tuple[Path, dict[str, Any]], library_environment: Callable[..., Any], tmp_path: Path
) -> None:
    state, replies = played
    environment = library_environment("inspect-ai", *NEEDED)
    logs = tmp_path / "logs"
    arguments = ("export", "--all", "--format", "inspect", "--output", str(logs))
    environment.call(*COMMAND, *arguments, ML_TRAINER_STATE_DIR=str(state))

    told = {one["agent"]: one for one in environment.run("read_inspect_log.py", str(logs))}
    viewer = tmp_path / "viewer"
    environment.call("-m", "inspect_ai", "view", "bundle", "--log-dir", str(logs), "--output-dir", str(viewer))

    assert set(told) == {"careful", HOSTILE}
    assert {sample["id"] for sample in told[HOSTILE]["samples"]} == {"a:b", "a/b"}
    (sample,) = told["careful"]["samples"]
    assert told["careful"]["mean"] == sample["score"] == replies["ended"]["score"]
    assert sample["calls"][0] == ["configure_training", {"learning_rate": 0.01}, "a rate that\nis *usual*"]
    assert [call[0] for call in sample["calls"]][1:] == ["run_epochs", "configure_training", "submit_model"]
    assert json.loads(sample["replies"][1][0]) == replies["trained"]
    assert sample["replies"][2][1].startswith("learning_rate must be")
    assert len(list((viewer / "logs").glob("*.eval"))) == 2


def test_wandb_reads_runs_that_were_written_without_an_account(
    played: tuple[Path, dict[str, Any]], library_environment: Callable[..., Any], tmp_path: Path
) -> None:
    state, replies = played
    environment = library_environment("wandb", *NEEDED)
    folder = tmp_path / "runs"
    alone = {"HOME": str(tmp_path), "WANDB_API_KEY": "", "ML_TRAINER_STATE_DIR": str(state)}
    environment.call(*COMMAND, "export", "--all", "--format", "wandb", "--output", str(folder), **alone)

    told = environment.run("read_wandb.py", str(folder))

    assert set(told) == {"first", "a:b", "a/b"}
    first = told["first"]
    losses = {row["unit"]: row["val_loss"] for row in first["history"] if "val_loss" in row}
    assert losses == pytest.approx({row["epoch"]: row["val_loss"] for row in replies["trained"]["epochs"]}, abs=1e-4)
    assert first["summary"]["score"] == replies["ended"]["score"]
    assert first["config"]["agent"] == "careful"
    (table,) = folder.glob("wandb/offline-run-*-first/files/media/table/*.table.json")
    assert json.loads(table.read_text())["data"][0] == [
        1,
        0,
        "configure_training",
        '{"learning_rate": 0.01}',
        "a rate that\nis *usual*",
        "Configured.",
    ]
