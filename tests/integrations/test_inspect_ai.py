"""Inspect evaluates a model on both games over MCP, also on a server with a token."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer

from ml_trainer_env import MissingLibraryError

TOKEN = "a-token-of-inspect-tests"

pytestmark = [pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def inspect_environment(library_environment: Callable[..., Any]) -> Any:
    return library_environment("inspect-ai", "openai")


@pytest.mark.libraries
def test_the_score_is_the_servers_grade_and_mistakes_are_told_to_the_model(
    live_server: str, chat: ChatServer, inspect_environment: Any, tmp_path: Path
) -> None:
    chat.calls("run_epochs", num_epochs=2)
    chat.calls("run_epochs", num_epochs=99)
    chat.calls("submit_model")
    chat.says("That is all.")

    came = inspect_environment.run(
        "inspect_eval.py", "tuning", live_server, str(tmp_path), SCRIPTED_API_KEY="none", SCRIPTED_BASE_URL=chat.url
    )

    offered = {tool["function"]["name"] for tool in chat.requests[0].body["tools"]}
    assert came["id"] == "tuning/validation/0"
    assert came["explanation"] == f"Submitted: score {came['score']}."
    assert came["mean"] == pytest.approx(came["score"])
    assert came["metadata"]["ended"]
    assert came["metadata"]["reward"] > came["score"]
    assert len(came["errors"]) == 1
    assert "tuning/validation/0" in came["prompts"][-1]
    assert {"run_epochs", "submit_model"} <= offered
    assert offered.isdisjoint({"start_task", "list_tasks"})


@pytest.mark.libraries
def test_the_documented_program_runs(
    live_server: str, chat: ChatServer, inspect_environment: Any, program: Callable[..., str]
) -> None:
    chat.calls("run_epochs", num_epochs=1)
    chat.calls("submit_model")
    chat.says("That is all.")
    replaced = {
        "http://localhost:8000": live_server,
        "count=8": "count=1",
        "openai/gpt-4o-mini": "openai-api/scripted/scripted",
    }

    printed = inspect_environment.call(
        "-c", program("inspect", replaced), SCRIPTED_API_KEY="none", SCRIPTED_BASE_URL=chat.url
    )

    assert -0.25 <= float(printed.splitlines()[-1]) <= 1


@pytest.mark.libraries
def test_the_fleet_is_played_on_a_server_with_a_token_that_the_log_does_not_tell(
    start_server: Callable[..., Any], chat: ChatServer, inspect_environment: Any, tmp_path: Path
) -> None:
    chat.calls("run_steps", num_steps=2)
    chat.says("I leave it there.")
    with start_server(ML_TRAINER_TOKEN=TOKEN) as server:
        came = inspect_environment.run(
            "inspect_eval.py",
            "fleet",
            f"{server.url}/fleet",
            str(tmp_path),
            SCRIPTED_API_KEY="none",
            SCRIPTED_BASE_URL=chat.url,
            ML_TRAINER_TOKEN=TOKEN,
        )

    logs = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert not came["metadata"]["ended"]
    assert came["explanation"] != "Nothing was submitted."  # the episode that the model left was submitted for it
    assert "8 ranks" in came["prompts"][-1]
    assert TOKEN.encode() not in logs
    assert TOKEN not in str(came)


def test_without_inspect_the_module_says_what_to_install() -> None:
    sys.modules.pop("ml_trainer_env.integrations.inspect_ai", None)

    with pytest.raises(MissingLibraryError, match="pip install inspect-ai"):
        __import__("ml_trainer_env.integrations.inspect_ai")
