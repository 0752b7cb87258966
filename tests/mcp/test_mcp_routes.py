"""Who answers at `/mcp`: MCP for MCP clients, OpenEnv's JSON-RPC for others, and the doors before both."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from served_here import served_here

from ml_trainer_env import MLTrainerEnv

BOTH = {"Accept": "application/json, text/event-stream"}
TOKEN = "a-secret-of-the-tests"


@pytest.fixture
def http(live_server: str) -> Any:
    with httpx.Client(base_url=live_server, timeout=30.0, trust_env=False) as client:
        yield client


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "PUT"])
@pytest.mark.parametrize("accept", ["*/*", "text/html", "text/event-stream"])
def test_what_is_no_post_and_has_no_session_is_not_allowed(http: httpx.Client, method: str, accept: str) -> None:
    assert http.request(method, "/mcp", headers={"Accept": accept}).status_code == 405


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_session_there_is_not_is_not_found(http: httpx.Client, method: str) -> None:
    headers = {**BOTH, "mcp-session-id": "never"}
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}

    assert http.request(method, "/mcp", json=message, headers=headers).status_code == 404


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT"])
def test_a_session_knows_the_methods_it_does_not_take(http: httpx.Client, t: Any, method: str) -> None:
    opened = http.post("/mcp", json=t.initialize(), headers=BOTH)
    session = {**BOTH, "mcp-session-id": opened.headers["mcp-session-id"]}

    assert http.request(method, "/mcp", headers=session).status_code == 405

    assert http.delete("/mcp", headers=session).status_code == 200


def test_a_post_without_an_event_stream_is_openenvs(http: httpx.Client) -> None:
    answer = http.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "openenv/session/create"}).json()

    session_id = answer["result"]["session_id"]
    closed = {"jsonrpc": "2.0", "id": 2, "method": "openenv/session/close", "params": {"session_id": session_id}}
    assert "result" in http.post("/mcp", json=closed).json()


def test_openenvs_way_in_goes_on_and_answers_with_dicts(live_server: str) -> None:
    with MLTrainerEnv(base_url=live_server) as env:
        env.reset()
        assert isinstance(env.call_tool("get_training_status"), dict)
        with pytest.raises(RuntimeError, match="start_task"):
            env.call_tool("start_task")


def test_a_token_is_asked_for(tmp_path: Path, t: Any) -> None:
    with (
        served_here(tmp_path, TOKEN=TOKEN) as (address, _),
        httpx.Client(base_url=f"http://{address}", trust_env=False) as http,
    ):
        assert http.post("/mcp", json=t.initialize(), headers=BOTH).status_code == 401
        assert http.get("/mcp", headers={**BOTH, "mcp-session-id": "never"}).status_code == 401
        admitted = {**BOTH, "Authorization": f"Bearer {TOKEN}"}
        assert http.post("/mcp", json=t.initialize(), headers=admitted).status_code == 200


def test_a_page_of_another_server_is_kept_out(http: httpx.Client, t: Any) -> None:
    headers = {**BOTH, "Origin": "https://example.org"}

    assert http.post("/mcp", json=t.initialize(), headers=headers).status_code == 403
