"""The games as TRL sees them: the methods are the server's tools, and GRPOTrainer trains on episodes."""

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from ml_trainer_env import FleetEnv, MLTrainerEnv, ResetRefusedError, ToolCallError
from ml_trainer_env.integrations.rows import task_rows
from ml_trainer_env.integrations.trl import FleetGame, TuningGame
from ml_trainer_env.integrations.trl.game import Game
from ml_trainer_env.server.tuning.reference import FLOOR

TASK = "tuning/validation/0"
JSON_TYPES = {bool: "boolean", float: "number", int: "integer", str: "string"}


@pytest.fixture(params=[(TuningGame, MLTrainerEnv, ""), (FleetGame, FleetEnv, "/fleet")], ids=["tuning", "fleet"])
def game_and_schemas(request: pytest.FixtureRequest, live_server: str) -> tuple[type[Game], dict[str, Any]]:
    game, client, path = request.param
    with client(base_url=live_server + path) as env:
        return game, {tool.name: tool.input_schema for tool in env.list_tools()}


@pytest.fixture
def game(live_server: str) -> Iterator[TuningGame]:
    played = TuningGame(live_server)
    yield played
    played._episode.close()


def tools_of(game: type[Game]) -> dict[str, Callable[..., str]]:
    """The methods that TRL takes for tools, as it finds them."""
    methods = inspect.getmembers(game, inspect.isfunction)
    return {name: it for name, it in methods if not name.startswith("_") and name not in ("reset", "get_reward")}


def parameter_schema(hint: Any) -> tuple[str, list[Any] | None]:
    """The JSON type of a parameter, and its choices."""
    (kind,) = [one for one in get_args(hint) if one is not type(None)] if type(None) in get_args(hint) else [hint]
    if get_origin(kind) is Literal:
        return JSON_TYPES[type(get_args(kind)[0])], list(get_args(kind))
    return JSON_TYPES[kind], None


def test_each_tool_is_a_method_and_each_method_a_tool(game_and_schemas: tuple[type[Game], dict[str, Any]]) -> None:
    game, schemas = game_and_schemas

    assert set(tools_of(game)) == set(schemas)


def test_the_parameters_of_a_method_are_those_of_the_tool(game_and_schemas: tuple[type[Game], dict[str, Any]]) -> None:
    game, schemas = game_and_schemas
    for name, method in tools_of(game).items():
        parameters = list(inspect.signature(method).parameters.values())[1:]
        hints = get_type_hints(method)
        properties = schemas[name]["properties"]

        assert [one.name for one in parameters] == list(properties), name
        assert [one.name for one in parameters if one.default is one.empty] == schemas[name].get("required", []), name
        for parameter in parameters:
            kind, choices = parameter_schema(hints[parameter.name])
            stated = properties[parameter.name]
            assert [str(one) for one in choices or []] == stated.get("enum", []), (name, parameter.name)
            assert kind == stated["type"] or choices, (name, parameter.name)


def test_a_docstring_describes_each_parameter(game_and_schemas: tuple[type[Game], dict[str, Any]]) -> None:
    for name, method in tools_of(game_and_schemas[0]).items():
        described = re.findall(r"^    (\w+): \S", inspect.getdoc(method) or "", re.MULTILINE)

        assert described == list(inspect.signature(method).parameters)[1:], name


def test_the_reward_is_the_sum_of_the_episodes_rewards(game: TuningGame) -> None:
    told = game.reset(**task_rows("tuning/validation", [0], [1])[0])
    game.run_epochs(num_epochs=2)
    graded = game.submit_model()

    score, accuracy = game._episode.score, game._episode.last_reply["best_val_accuracy"]
    assert TASK in told
    assert f"{score:.4f}"[:6] in graded
    assert game.get_reward() == game.get_reward() == pytest.approx(score + 0.05 * accuracy, abs=1e-4)


def test_an_episode_that_the_model_leaves_is_submitted_as_it_stands(game: TuningGame) -> None:
    game.reset(task_id=TASK, seed=1)
    game.run_epochs(num_epochs=2)
    left = game.get_reward()
    game.reset(task_id=TASK, seed=1)
    game.run_epochs(num_epochs=2)
    game.submit_model()

    assert game.get_reward() == left != 0


@pytest.mark.parametrize(("task", "least"), [(TASK, FLOOR), ("easy_mnist", 0.0)])
def test_an_episode_without_an_epoch_has_the_least_score_of_its_rubric(
    game: TuningGame, task: str, least: float
) -> None:
    game.reset(task_id=task)

    assert game.get_reward() == game.get_reward() == least


def test_replies_are_short_text(game: TuningGame) -> None:
    told = [game.reset(task_id=TASK), game.run_epochs(num_epochs=2), game.configure_training(optimizer="adam")]

    assert all(len(text) < 2000 for text in told)
    assert "epoch 2 of 20" in told[1]


def test_a_refusal_is_an_error_that_says_why(game: TuningGame) -> None:
    game.reset(task_id=TASK)

    with pytest.raises(ToolCallError, match="num_epochs"):
        game.run_epochs(num_epochs=99)


def test_an_unknown_task_is_refused(game: TuningGame) -> None:
    with pytest.raises(ResetRefusedError, match="no_such_task"):
        game.reset(task_id="no_such_task")


def test_rows_name_every_task_with_every_seed() -> None:
    rows = task_rows("fleet/train", range(2), [5, 6])

    assert [(row["task_id"], row["seed"]) for row in rows] == [
        ("fleet/train/0", 5), ("fleet/train/0", 6), ("fleet/train/1", 5), ("fleet/train/1", 6),
    ]  # fmt: skip
    assert all(row["prompt"][0]["role"] == "user" for row in rows)


def test_rows_of_no_game_are_refused() -> None:
    with pytest.raises(ValueError, match="tuning or fleet"):
        task_rows("chess/train", range(2))


@pytest.mark.libraries
@pytest.mark.timeout(1800)
def test_grpo_trains_on_episodes(
    live_server: str,
    library_environment: Callable[..., Any],
    tmp_path: Path,
    game: TuningGame,
    program: Callable[..., str],
) -> None:
    environment = library_environment("trl", "transformers", "datasets", "accelerate", "torch")

    came = environment.run("grpo_step.py", live_server, str(tmp_path))

    assert came["log"]["tools/call_frequency"] == 2
    assert came["log"]["tools/failure_frequency"] == 0
    rewards = []
    for row in task_rows("tuning/validation", range(2), [1]):
        game.reset(**row)
        game.run_epochs(num_epochs=1)
        rewards.append(game.get_reward())
    assert min(abs(came["log"]["reward"] - reward) for reward in rewards) < 1e-4  # the task that the step drew
    settings = {
        '"Qwen/Qwen3-0.6B"': repr(str(tmp_path / "model")),
        "TuningGame,\n": f"lambda: TuningGame({live_server!r}),\n",
        "max_steps=100, num_generations=8": "max_steps=1, num_generations=2, per_device_train_batch_size=2, bf16=False",
    }
    assert "'rewards/TuningGame/mean'" in environment.call("-c", program("trl", settings))
    for schemas, game_class in zip(came["schemas"].values(), (TuningGame, FleetGame), strict=True):
        assert {one["name"] for one in schemas} == set(tools_of(game_class))
