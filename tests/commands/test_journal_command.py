"""`ml-trainer-journal`: what was played is listed, trained again to the same bits, and exported to learn from."""

import asyncio
import hashlib
import json
import random
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ml_trainer_env.server.commands.journal import main
from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.episodes.registry import EpisodeRequest
from ml_trainer_env.server.executors.in_process import InProcessExecutor
from ml_trainer_env.server.services import Services
from ml_trainer_env.server.settings import Settings
from ml_trainer_env.server.trainer import PROBE
from ml_trainer_env.server.trainer.errors import ConfigError

EPISODES = 5


def random_call(source: random.Random) -> tuple[str, dict[str, Any]]:
    """A call as an agent with no plan might make it, mistakes included."""
    return source.choice(
        [
            ("run_epochs", {"num_epochs": source.randint(1, 3)}),
            ("run_epochs", {"num_epochs": source.randint(1, 3)}),
            (
                "configure_training",
                {
                    "optimizer": source.choice(["sgd", "adam", "adamw", "lion"]),
                    "learning_rate": 10 ** source.uniform(-4, 1),
                    "batch_size": source.choice([64, 128, 256]),
                    "lr_schedule": source.choice(["constant", "step", "cosine", "warmup_cosine"]),
                    "dropout": source.choice([0.0, 0.2]),
                    "reinitialize": source.random() < 0.3,
                },
            ),
            ("adjust_learning_rate", {"new_lr": source.choice([0.01, 0.001, 0])}),
            ("toggle_augmentation", {"enabled": source.random() < 0.5, "strength": source.random()}),
            ("save_checkpoint", {"name": source.choice("ab")}),
            ("restore_checkpoint", {"name": source.choice("abc")}),
            ("get_training_status", {}),
            ("submit_model", {}),
        ]
    )


async def play(services: Services) -> None:
    for number in range(EPISODES):
        source = random.Random(number)
        opened = await services.registry.open(EpisodeRequest(episode_id=f"episode-{number}", seed=number, rubric="v2"))
        for _ in range(10):
            tool, arguments = random_call(source)
            try:
                await opened.call(tool, arguments)
            except (EpisodeError, ConfigError):
                continue
    fork = await services.registry.open(EpisodeRequest(episode_id="fork", fork_from="episode-1", agent="brancher"))
    await fork.call("run_epochs", {"num_epochs": 1}, reason="one more may help")
    await fork.call("submit_model", {})


async def play_permuted(services: Services) -> None:
    opened = await services.registry.open(EpisodeRequest(task_id="permuted_mnist", episode_id="permuted"))
    await opened.call("configure_training", {"augmentation": True, "dropout": 0.2})
    await opened.call("run_epochs", {"num_epochs": 2})
    await opened.call("submit_model", {})


def serve(state: Path, play: Callable[[Services], Awaitable[None]]) -> None:
    """Play on a server with that state folder."""
    settings = Settings.from_environment({"ML_TRAINER_STATE_DIR": str(state), "ML_TRAINER_DOWNLOAD": "no"})

    async def served() -> None:
        services = Services(settings, InProcessExecutor(settings.torch_threads, probe=PROBE))
        try:
            await play(services)
        finally:
            await services.close()

    asyncio.run(served())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of a server on which random episodes, and a fork of one, were played."""
    state = tmp_path_factory.mktemp("played")
    serve(state, play)
    return state


@pytest.fixture
def run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str]]]:
    monkeypatch.setenv("ML_TRAINER_STATE_DIR", str(folder))
    monkeypatch.setenv("ML_TRAINER_DOWNLOAD", "no")

    def command(*arguments: str) -> tuple[int, str]:
        status = main(arguments)
        return status, capsys.readouterr().out

    return command


@pytest.mark.slow
def test_random_episodes_and_a_fork_are_trained_again_to_the_same_bits(run: Any) -> None:
    status, output = run("replay", "--all")

    verdicts = [line for line in output.splitlines() if "trained again" in line]
    assert status == 0, output
    assert len(verdicts) == EPISODES + 1
    assert all(": the same: " in line for line in verdicts)
    assert sum(int(line.split(" calls, ")[1].split()[0]) for line in verdicts) > EPISODES * 2


@pytest.mark.slow
def test_an_episode_on_permuted_images_is_trained_again_to_the_same_bits(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(tmp_path, play_permuted)
    monkeypatch.setenv("ML_TRAINER_STATE_DIR", str(tmp_path))

    status, output = run("replay", "permuted")

    assert status == 0, output
    assert "permuted: the same: " in output


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_an_episode_that_this_machine_cannot_train_keeps_no_other_from_being_trained_again(
    run: Any, folder: Path
) -> None:
    database = sqlite3.connect(folder / "journal.sqlite3")
    (first, versions), (second, _) = database.execute("SELECT name, versions FROM episodes LIMIT 2").fetchall()

    def write(text: str) -> None:
        database.execute("UPDATE episodes SET versions = ? WHERE name = ?", (text, first))
        database.commit()

    write(json.dumps({**json.loads(versions), "device": "cuda"}))
    try:
        status, output = run("replay", first, second)
    finally:
        write(versions)
        database.close()

    assert status == 1
    assert f"{first}: it cannot be trained again on this machine:" in output
    assert "there is no GPU" in output
    assert f"{second}: the same: " in output


def test_a_metric_that_was_tampered_with_is_found(run: Any, folder: Path) -> None:
    database = sqlite3.connect(folder / "journal.sqlite3")
    query = (
        "SELECT episode, calls.number, calls.epochs, name FROM calls JOIN episodes ON episodes.id = episode "
        "WHERE json_array_length(calls.epochs) > 0 AND reply IS NOT NULL LIMIT 1"
    )
    episode, number, epochs, name = database.execute(query).fetchone()
    forged = json.loads(epochs)
    forged[0][1] = "0" * 64

    def write(text: str) -> None:
        database.execute("UPDATE calls SET epochs = ? WHERE episode = ? AND number = ?", (text, episode, number))
        database.commit()

    write(json.dumps(forged))
    try:
        status, output = run("replay", name)
    finally:
        write(epochs)
        database.close()

    assert status == 1
    assert "weights_hash was 000000" in output
    assert f"{name}: DIFFERENT" in output


def test_the_list_names_every_episode(run: Any) -> None:
    status, output = run("list")

    assert status == 0
    assert len(output.splitlines()) == 1 + EPISODES + 1
    assert output.splitlines()[1].startswith("fork ")
    assert "fork of episode-1" in output


def test_a_trajectory_has_what_the_agent_saw_and_did_and_was_paid(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"

    status, _ = run("export", "--all", "--output", str(path))

    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert status == 0
    assert len(rows) == EPISODES + 1
    for row in rows:
        assert row["steps"][0]["observation"]["task"]["id"] == "easy_mnist"
        for step in row["steps"]:
            assert set(step) >= {"observation", "action", "reward", "done"}
        own = [step for step in row["steps"] if not step["inherited"]]
        assert row["return"] == pytest.approx(sum(step["reward"] for step in own), abs=1e-6)
    fork = rows[-1]
    assert fork["forked_from"] == "episode-1"
    assert [step["action"]["tool_name"] for step in fork["steps"] if not step["inherited"]] == [
        "run_epochs",
        "submit_model",
    ]
    assert (fork["done"], fork["final_observation"]["score"]) == (True, fork["score"])


def test_a_chat_alternates_between_the_agent_and_its_tools(run: Any) -> None:
    status, output = run("export", "fork", "--format", "chat")

    (row,) = [json.loads(line) for line in output.splitlines()]
    system, user, *turns = row["messages"]
    assert status == 0
    assert (system["role"], user["role"]) == ("system", "user")
    assert "easy_mnist" in user["content"]
    names = {tool["function"]["name"] for tool in row["tools"]}
    for asked, answered in zip(turns[::2], turns[1::2], strict=True):
        (call,) = asked["tool_calls"]
        assert call["function"]["name"] in names
        assert isinstance(call["function"]["arguments"], dict)
        assert answered["tool_call_id"] == call["id"]
        assert isinstance(json.loads(answered["content"]), dict)


def test_a_data_set_has_masks_rewards_and_provenance_and_a_card(run: Any, tmp_path: Path) -> None:
    status, output = run("dataset", str(tmp_path / "set"))

    rows = read_rows(tmp_path / "set" / "data" / "ml_trainer_env" / "named.jsonl")
    assert (status, output.split()[0]) == (0, str(EPISODES + 1))
    for row in rows:
        roles = [message["role"] for message in row["messages"]]
        assert len(row["mask"]) == len(row["rewards"]) == len(roles)
        assert {role for role, mask in zip(roles, row["mask"], strict=True) if mask} <= {"assistant"}
        assert sum(row["rewards"]) == pytest.approx(row["return"], abs=1e-5)
        assert all(len(key) >= 16 for key in row["identities"])
        assert json.loads(row["versions"])["torch"]
    fork = next(row for row in rows if row["episode_id"] == "fork")
    learned = [message for message, mask in zip(fork["messages"], fork["mask"], strict=True) if mask]
    assert (fork["agent"], fork["task_id"], fork["split"]) == ("brancher", "easy_mnist", "named")
    assert [call["function"]["name"] for message in learned for call in message["tool_calls"]] == [
        "run_epochs",
        "submit_model",
    ]  # what it inherited is somebody else's
    assert learned[0]["content"] == "one more may help"
    assert any(0 in row["mask"][2::2] for row in rows if row["forked_from"] is None)  # refused calls


def test_the_card_of_a_data_set_tells_its_files_and_statistics(run: Any, tmp_path: Path) -> None:
    run("dataset", str(tmp_path), "--name", "Played: here")
    settings, text = (tmp_path / "README.md").read_text().removeprefix("---\n").split("\n---\n")

    read = yaml.safe_load(settings)
    (config,) = read["configs"]
    (file,) = config["data_files"]
    assert read["pretty_name"] == "Played: here"
    assert (tmp_path / file["path"]).exists()
    assert f"| ml_trainer_env | named | unnamed | {EPISODES} |" in text
    assert "| ml_trainer_env | named | brancher | 1 | 1 | 1 |" in text
    for line in (tmp_path / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest


def test_a_data_set_of_finished_episodes_has_no_other(run: Any, tmp_path: Path) -> None:
    run("dataset", "--finished", str(tmp_path))

    rows = read_rows(tmp_path / "data" / "ml_trainer_env" / "named.jsonl")
    assert 0 < len(rows) < EPISODES + 1
    assert all(row["done"] for row in rows)


def test_a_data_set_is_not_written_over_anything(run: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    assert run("dataset", str(tmp_path))[0] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("command", [["replay", "nobody"], ["export", "nobody"]])
@pytest.mark.usefixtures("run")
def test_an_episode_that_is_not_there_is_named(capsys: Any, command: list[str]) -> None:
    assert main(command) == 2
    assert "there is no episode 'nobody'" in capsys.readouterr().err


def test_a_folder_without_a_journal_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ML_TRAINER_STATE_DIR", str(tmp_path))

    assert main(["list"]) == 2
    assert "there is no journal at" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--format", "tensorboard"], "name it with --output"),
        (["--format", "inspect", "--output", "x"], "run: pip install inspect-ai"),
        (["--format", "tensorboard", "--output", "x"], "run: pip install tensorboard"),
        (["--format", "wandb", "--output", "x"], "run: pip install wandb"),
    ],
)
def test_an_export_for_a_viewer_says_what_it_needs(
    folder: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ML_TRAINER_STATE_DIR", str(folder))
    for library in ("tensorboard", "inspect_ai", "wandb"):
        monkeypatch.setitem(sys.modules, library, None)  # as if it were not installed

    assert main(["export", "fork", *arguments]) == 2
    assert told in capsys.readouterr().err
