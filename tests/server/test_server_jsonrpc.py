"""Plain JSON-RPC at /mcp, as a program without any client library speaks it."""

from typing import Any

import pytest

from ml_trainer_env.server.tuning.tools import TOOLS


@pytest.fixture
def session_id(rpc: Any) -> Any:
    session_id = rpc.result("openenv/session/create")["session_id"]
    yield session_id
    rpc.ask("openenv/session/close", session_id=session_id)


def test_a_session_lists_the_nine_tools(rpc: Any, session_id: str) -> None:
    tools = rpc.result("tools/list", session_id=session_id)["tools"]

    assert [tool["name"] for tool in tools] == list(TOOLS.names)
    assert all(tool["description"] and tool["inputSchema"]["type"] == "object" for tool in tools)


def test_a_call_before_any_reset_says_so(rpc: Any, session_id: str) -> None:
    answer = rpc.ask("tools/call", session_id=session_id, name="run_epochs", arguments={"num_epochs": 1})

    assert "call reset first" in str(answer)


def test_a_session_reset_over_its_socket_is_played_by_json_rpc(live_server: str, rpc: Any) -> None:
    from openenv.core.mcp_client import MCPToolClient

    with MCPToolClient(base_url=live_server).sync() as stock:
        stock.reset(task_id="easy_mnist")
        session_id = stock.async_client._production_session_id

        trained = rpc.call(session_id, "run_epochs", num_epochs=1)
        assert (trained["current_epoch"], trained["done"]) == (1, False)
        assert trained["reward"] > 0

        refused = rpc.ask("tools/call", session_id=session_id, name="run_epochs", arguments={"num_epochs": 0})
        assert "num_epochs must be a whole number in [1, 20], got 0" in str(refused)

        submitted = rpc.call(session_id, "submit_model")
        assert submitted["done"] is True
        assert submitted["reward"] >= submitted["score"] > 0
        assert stock.state().step_count == 3


def test_a_closed_session_is_gone(rpc: Any) -> None:
    session_id = rpc.result("openenv/session/create")["session_id"]

    assert rpc.result("openenv/session/close", session_id=session_id)["closed"] is True

    assert "Unknown session_id" in str(rpc.ask("tools/list", session_id=session_id))


def test_a_method_there_is_not_is_named(rpc: Any) -> None:
    assert rpc.ask("tools/forge")["error"]["message"] == "Method not found: tools/forge"
