"""A drawn task, with a start and a change on the way, played over a real server."""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from ml_trainer_env import MLTrainerEnv, ResetRefusedError, ToolCallError
from ml_trainer_env.server.commands.journal import main as journal
from ml_trainer_env.server.episodes.registry import EpisodeRequest
from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.services import Services
from ml_trainer_env.server.settings import Settings
from ml_trainer_env.server.trainer import PROBE
from ml_trainer_env.server.trainer.kinds import NetworkKind
from ml_trainer_env.server.tuning.families.tasks import family_task
from ml_trainer_env.server.tuning.tasks import Task

UNCALIBRATED = 1_000_000
"""An index of train beyond any table."""

HIDDEN = ("submitted_accuracy", "submitted_loss", "best_accuracy", "best_loss", "oracle")


@pytest.fixture(scope="module")
def task() -> Task:
    """A small drawn task with a start and a change, after which epochs are left."""
    drawn = (family_task("train", index) for index in count(UNCALIBRATED))
    return next(task for task in drawn if _is_small(task))


def _is_small(task: Task) -> bool:
    return (
        task.start is not None
        and task.change is not None
        and task.network.kind is NetworkKind.MLP
        and task.start.trained_epochs == 20
        and task.examples.train_size <= 500
        and 1 < task.change_after <= task.budget_epochs - 3
        and task.budget_epochs <= 12
        and task.largest_batch < 256
    )


@pytest.mark.slow
def test_an_episode_is_resumed_forked_and_replayed_to_the_same_bits(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variables = {"ML_TRAINER_STATE_DIR": str(tmp_path / "state"), "ML_TRAINER_DOWNLOAD": "no"}
    settings = Settings.from_environment({**variables, "ML_TRAINER_TORCH_THREADS": "1"})
    split, left = task.change_after, task.budget_epochs - task.change_after

    async def served(play: Callable[[Services], Awaitable[None]]) -> None:
        services = Services(settings, InProcessExecutor(1, probe=PROBE))
        try:
            await play(services)
        finally:
            await services.close()

    async def begin(services: Services) -> None:
        kept = await services.registry.open(EpisodeRequest(task_id=task.id, episode_id="kept"))
        await kept.call("save_checkpoint", {"name": "start"})
        await kept.call("run_epochs", {"num_epochs": split - 1})

    async def end(services: Services) -> None:
        async def train(request: EpisodeRequest, epochs: int) -> Any:
            opened = await services.registry.open(request)
            return opened, await opened.call("run_epochs", {"num_epochs": epochs})

        kept, crossed = await train(EpisodeRequest(episode_id="kept", resume=True), 2)
        await kept.call("save_checkpoint", {"name": "changed"})
        ours = await kept.call("run_epochs", {"num_epochs": left - 1})
        fork, theirs = await train(EpisodeRequest(episode_id="fork", fork_from="kept@changed"), left - 1)
        _, in_mid_call = await train(EpisodeRequest(fork_from=f"kept@{split}"), 1)
        _, straight = await train(EpisodeRequest(task_id=task.id), split + 1)
        grades = [await one.call("submit_model", {}) for one in (kept, fork)]

        assert crossed["weights_hash"] == in_mid_call["weights_hash"] == straight["weights_hash"]
        assert theirs["weights_hash"] == ours["weights_hash"]
        assert grades[0]["score"] == grades[1]["score"] == grades[0]["submitted_accuracy"]

    asyncio.run(served(begin))
    asyncio.run(served(end))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert journal(["replay", "--all"]) == 0, capsys.readouterr().out


@pytest.mark.slow
def test_an_episode_goes_on_after_a_restart_is_forked_at_a_checkpoint_and_replays_to_the_same_bits(
    start_server: Callable[..., Any],
    task: Task,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state, split, left = str(tmp_path / "state"), task.change_after, task.budget_epochs - task.change_after
    variables = {"ML_TRAINER_STATE_DIR": state, "ML_TRAINER_WORKERS": "1", "ML_TRAINER_TORCH_THREADS": "1"}
    with start_server(**variables) as server, MLTrainerEnv(base_url=server.url) as env:
        begun = env.reset(task_id=task.id, episode_id="kept").observation
        env.call_tool("save_checkpoint", name="start")
        env.call_tool("run_epochs", num_epochs=split - 1)
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait()
    with start_server(**variables) as server:
        with MLTrainerEnv(base_url=server.url) as env, MLTrainerEnv(base_url=server.url) as other:
            resumed = env.resume("kept").observation
            crossed = env.call_tool("run_epochs", num_epochs=2)
            env.call_tool("save_checkpoint", name="changed")
            env.call_tool("run_epochs", num_epochs=left - 1)
            forked = other.reset(fork_from="kept@changed", episode_id="fork").observation
            theirs = other.call_tool("run_epochs", num_epochs=left - 1)
            with MLTrainerEnv(base_url=server.url) as third:
                third.reset(fork_from=f"kept@{split}")
                crossed_alone = third.call_tool("run_epochs", num_epochs=1)
            ours = env.call_tool("get_training_status")
            grades = [one.call_tool("submit_model") for one in (env, other)]
        with MLTrainerEnv(base_url=server.url) as env:
            env.reset(split="train", index=task.index)
            straight = env.call_tool("run_epochs", num_epochs=split + 1)

    assert begun.task.id == task.id
    assert (begun.rubric, begun.task.largest_batch) == ("accuracy", task.largest_batch)
    assert resumed.status.current_epoch == split - 1
    assert straight["weights_hash"] == crossed["weights_hash"] == crossed_alone["weights_hash"]
    assert forked.status.current_epoch == split + 1
    assert theirs["weights_hash"] == ours["weights_hash"]
    assert grades[0]["score"] == grades[1]["score"] == grades[0]["submitted_accuracy"]

    monkeypatch.setenv("ML_TRAINER_STATE_DIR", state)
    monkeypatch.setenv("ML_TRAINER_DOWNLOAD", "no")
    assert journal(["replay", "kept", "fork"]) == 0, capsys.readouterr().out


@pytest.mark.slow
def test_an_episode_tells_its_largest_batch_and_no_hidden_figure_before_its_end(live_server: str, task: Task) -> None:
    with MLTrainerEnv(base_url=live_server) as env:
        begun = env.reset(task_id=task.id)
        with pytest.raises(ToolCallError, match=f"batch_size may be at most {task.largest_batch} here, got 256"):
            env.call_tool("configure_training", batch_size=256)
        told = [begun.observation.model_dump_json()]
        told += [json.dumps(env.call_tool("run_epochs", num_epochs=1)), env.state().model_dump_json()]
        told += [json.dumps(env.call_tool("get_training_status"))]
        submitted = env.call_tool("submit_model")

    assert not [name for reply in told for name in HIDDEN if name in reply]
    assert set(HIDDEN) - set(submitted) == {"oracle"}


def test_the_task_api_pages_and_lists_only_what_reset_can_begin(http: httpx.Client) -> None:
    def ask(path: str, **body: Any) -> Any:
        return http.post(f"/ml_trainer_env/{path}", json=body).json()

    for split in ("named", "train", "validation", "test"):
        total = ask("num_tasks", split=split)["num_tasks"]
        shown = min(total, 6)
        rows = ask("task_range", split=split, start=0, stop=shown)["tasks"]
        pages = [
            ask("task_range", split=split, start=at, stop=min(at + 2, shown))["tasks"] for at in range(0, shown, 2)
        ]

        assert [row for page in pages for row in page] == rows
        assert [(row["split"], row["index"]) for row in rows] == [(split, index) for index in range(shown)]
        assert all({"id", "difficulty", "group", "cost_s", "rubrics"} <= set(row) for row in rows)
        assert ask("task_range", split=split, start=total, stop=total + 9)["tasks"] == []
        for row in rows[:1]:
            begun = http.post("/reset", json={"split": split, "index": row["index"]}).json()["observation"]
            assert begun["task"]["id"] == row["id"]


def test_a_task_beyond_the_table_is_begun_by_its_index_and_not_listed(http: httpx.Client) -> None:
    place = {"split": "train", "index": UNCALIBRATED}

    begun = http.post("/reset", json=place).json()["observation"]
    listed = http.post("/ml_trainer_env/task", json=place)

    assert begun["task"]["id"] == f"tuning/train/{UNCALIBRATED}"
    assert begun["task"]["difficulty"] == "uncalibrated"
    assert listed.status_code == 400


def test_a_named_task_is_graded_by_v3_where_its_references_were_measured_on_these_images(env: MLTrainerEnv) -> None:
    env.reset(task_id="easy_mnist", rubric="v3")
    env.call_tool("run_epochs", num_epochs=1)
    details = env.call_tool("submit_model")["details"]

    reached = (details["submitted"] - details["default"]) / (details["oracle"] - details["default"])
    assert 0.9 < details["default"] < details["oracle"] < 1
    assert details["x"] == pytest.approx(reached, abs=0.01)
    with pytest.raises(ResetRefusedError, match="hard_cifar has none for these examples"):
        env.reset(task_id="hard_cifar", rubric="v3")
