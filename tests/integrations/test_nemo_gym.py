"""NeMo Gym's own resources server for OpenEnv plays episodes; and the shapes that it needs, without the library."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openenv.core.env_server.mcp_types import CallToolAction, ListToolsAction

from ml_trainer_env.integrations.nemo_gym import FleetEnvironment, TuningEnvironment, input_row

TASK = "tuning/validation/0"
CONFIGURATION = Path(__file__).parents[2] / "examples" / "nemo_gym.yaml"


@pytest.fixture
def environment(live_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TuningEnvironment]:
    monkeypatch.setenv("ENV_URL", live_server)
    made = TuningEnvironment()
    yield made
    made.close()


def call(name: str, **arguments: Any) -> CallToolAction:
    return CallToolAction(tool_name=name, arguments=arguments)


@pytest.mark.libraries
@pytest.mark.timeout(1800)
def test_its_resources_server_offers_the_tools_and_verifies_by_the_episodes_rewards(
    live_server: str, library_environment: Callable[..., Any]
) -> None:
    environment = library_environment("nemo-gym", python="3.12")
    calls = [
        ("configure_training", {"optimizer": "adam", "learning_rate": 0.001}),
        ("run_epochs", {"num_epochs": 2}),
        ("run_epochs", {"num_epochs": 99}),
        ("submit_model", {}),
        ("get_training_status", {}),
    ]

    came = environment.run("nemo_gym_rollout.py", str(CONFIGURATION), json.dumps(calls), ENV_URL=live_server)

    configured, ran, refused, submitted, late = came["answers"]
    assert {"/run_epochs", "/submit_model", "/restore_checkpoint"} <= set(came["addresses"])
    assert configured["result"]["configuration"]["optimizer"] == "adam"
    assert "num_epochs" in refused["error"]
    assert came["reward"] == pytest.approx(ran["result"]["reward"] + submitted["result"]["reward"])
    assert late["error"] == "Episode has ended."
    assert "The budget is 20 epochs" in came["asked"][1]
    assert {f"/{name}" for name in came["tools"]} <= set(came["addresses"])


def test_it_needs_neither_arguments_nor_options_nor_a_seed(environment: TuningEnvironment) -> None:
    begun = environment.reset()
    listed = environment.step(ListToolsAction())

    assert (begun.reward, begun.done) == (0.0, False)
    assert {"run_epochs", "submit_model"} <= {tool.name for tool in listed.tools}


def test_arguments_that_the_model_left_out_may_be_null(environment: TuningEnvironment) -> None:
    environment.reset(task_id=TASK)

    came = environment.step(call("configure_training", optimizer="adam", learning_rate=None, dropout=None))

    assert came.error is None
    assert came.result["configuration"]["optimizer"] == "adam"


def test_a_refusal_is_an_observation_without_reward(environment: TuningEnvironment) -> None:
    environment.reset(task_id=TASK)

    came = environment.step(call("run_epochs", num_epochs=99))

    assert "num_epochs" in came.error.message
    assert (came.result, came.reward, came.done) == (None, 0.0, False)


def test_the_state_counts_the_calls_of_the_episode(environment: TuningEnvironment) -> None:
    begun = environment.reset(task_id=TASK)
    environment.step(call("get_training_status"))

    assert (environment.state.episode_id, environment.state.step_count) == (begun.episode_id, 1)


async def play(environment: TuningEnvironment) -> float:
    environment.reset(task_id=TASK)
    return environment.step(call("run_epochs", num_epochs=1)).reward


def test_it_works_in_a_thread_with_a_running_event_loop(environment: TuningEnvironment) -> None:
    assert asyncio.run(play(environment)) > 0


def test_a_row_of_the_data_set_has_the_prompt_the_task_and_the_tools(environment: TuningEnvironment) -> None:
    asked = input_row(environment, TASK)["responses_create_params"]

    assert [message["role"] for message in asked["input"]] == ["developer", "user"]
    assert "The budget is 20 epochs" in asked["input"][1]["content"]
    assert "run_epochs" in [tool["name"] for tool in asked["tools"]]
    assert json.loads(json.dumps(asked)) == asked


def test_the_fleet_is_another_class(live_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENV_URL", live_server)
    fleet = FleetEnvironment()
    fleet.reset()
    names = {tool.name for tool in fleet.step(ListToolsAction()).tools}
    fleet.close()

    assert "run_steps" in names
