"""The tools as clients find them: over MCP, and over OpenEnv, where an agent cannot begin an episode."""

from typing import Any

import pytest
from fastmcp import FastMCP

from ml_trainer_env import MLTrainerEnv
from ml_trainer_env.server.mcp.adapter import listed_tools
from ml_trainer_env.server.tuning.tools import TOOLS

FURTHER = {"list_tasks", "start_task", "plot_training_curves"}
LOOKS = {"list_tasks", "plot_training_curves", "get_training_status", "list_checkpoints"}
DESTROYS = {"configure_training", "submit_model", "save_checkpoint", "restore_checkpoint"}


async def _unused(*_: Any) -> Any:
    raise AssertionError("nothing is called here")


@pytest.fixture
def listed(serve: Any) -> dict[str, Any]:
    """Tools over MCP, by name."""
    tools: dict[str, Any] = {}

    async def play(served: Any) -> None:
        async with served.official() as session:
            tools.update({tool.name: tool for tool in (await session.list_tools()).tools})

    serve(play)
    return tools


def test_mcp_clients_get_the_nine_tools_and_three_more(listed: dict[str, Any]) -> None:
    assert set(listed) == {*TOOLS.names, *FURTHER}


def test_openenv_clients_get_the_nine_tools(live_server: str) -> None:
    with MLTrainerEnv(base_url=live_server) as env:
        assert [tool.name for tool in env.list_tools()] == list(TOOLS.names)


def test_every_tool_over_mcp_says_what_it_takes_and_what_it_answers(listed: dict[str, Any]) -> None:
    for tool in listed.values():
        assert len(tool.description) > 20
        assert tool.inputSchema["type"] == "object"
        assert tool.outputSchema["type"] == "object"
        assert tool.outputSchema["properties"]
    assert "epochs" in listed["run_epochs"].outputSchema["properties"]
    assert {"reward", "done", "score", "val_loss"} <= set(listed["submit_model"].outputSchema["properties"])


def test_every_tool_over_mcp_says_what_it_may_do(listed: dict[str, Any]) -> None:
    _check_annotations({name: tool.annotations for name, tool in listed.items()})


def test_every_tool_over_openenv_says_what_it_may_do() -> None:
    _check_annotations({tool.name: tool.annotations for tool in listed_tools(TOOLS)})


def test_the_options_of_a_task_show_their_choices(listed: dict[str, Any]) -> None:
    options = listed["start_task"].inputSchema

    assert set(options["properties"]) == {"task_id", "seed", "rubric", "episode_id", "resume", "fork_from", "agent"}
    assert "required" not in options
    assert "enum" not in options["properties"]["task_id"]
    assert options["properties"]["rubric"]["enum"] == ["v1", "v2", "v3", "accuracy"]


def test_the_pages_of_tasks_show_their_choices(listed: dict[str, Any]) -> None:
    options = listed["list_tasks"].inputSchema

    assert options["properties"]["split"]["enum"] == ["named", "train", "validation", "test"]
    assert options["properties"]["count"]["maximum"] == 100
    assert "required" not in options


def test_the_instructions_tell_how_to_play(mcp_server: FastMCP, run: Any) -> None:
    server = mcp_server
    names = {tool.name for tool in run(server.list_tools())}

    mentioned = {name for name in names if name in (server.instructions or "")}
    assert mentioned >= names - {"get_training_status", "list_checkpoints"}


def _check_annotations(annotations: dict[str, Any]) -> None:
    assert all(a.title and a.openWorldHint is False for a in annotations.values())
    assert {name for name, a in annotations.items() if a.readOnlyHint} == LOOKS & set(annotations)
    assert {name for name, a in annotations.items() if a.destructiveHint} == DESTROYS
    assert annotations["run_epochs"].idempotentHint is False
