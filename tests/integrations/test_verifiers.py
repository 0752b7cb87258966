"""The verifiers library plays the tuning game by its own taskset for OpenEnv, with the configuration in examples/."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer

CONFIGURATION = Path(__file__).parents[2] / "examples" / "verifiers.toml"


def says(chat: ChatServer, tool: str, **arguments: object) -> None:
    """Answer with an action of OpenEnv, as the taskset asks for it."""
    chat.says(json.dumps({"type": "call_tool", "tool_name": tool, "arguments": arguments}))


@pytest.mark.libraries
@pytest.mark.timeout(1800)
def test_the_reward_of_a_rollout_is_the_sum_of_its_episodes_rewards(
    live_server: str, chat: ChatServer, library_environment: Callable[..., Any], tmp_path: Path
) -> None:
    environment = library_environment("verifiers[openenv]", package=False)
    text = CONFIGURATION.read_text(encoding="utf-8")
    tasks = [reset["task_id"] for reset in tomllib.loads(text)["env"]["taskset"]["resets"]]
    own = tmp_path / "verifiers.toml"
    own.write_text(text.replace("http://localhost:8000", live_server), encoding="utf-8")
    for _ in tasks:
        says(chat, "run_epochs", num_epochs=1)
        says(chat, "submit_model")

    evaluate = "import sys; from verifiers.v1.cli.eval.main import main; sys.exit(main(sys.argv[1:]))"
    environment.call(
        *("-c", evaluate, "@", str(own), "--client.base-url", chat.url, "--client.api-key-var", "CHAT_KEY"),
        *("--model", "scripted", "--max-concurrent", "1", "--no-push", "--no-rich"),
        *("--output-dir", str(tmp_path), "--run.dir", "run"),
        CHAT_KEY="none",
    )

    lines = (tmp_path / "run" / "traces.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(tasks)
    for line in lines:
        (trace,) = json.loads(line)["traces"]
        assert trace["rewards"]["openenv_reward"]["score"] != 0
    told = [request.messages[-1]["content"] for request in chat.requests]
    assert [task for task in tasks for text in told if f'"id": "{task}"' in text] == tasks
    assert '"name": "run_epochs"' in told[0]
