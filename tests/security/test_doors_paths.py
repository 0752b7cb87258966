"""A slash at the end of a path: it is answered like the path without, by every route, and opens nothing."""

import json
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

RPC = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
EVENTS = {"Accept": "application/json, text/event-stream"}

ROUTES = [
    ("GET", "/health", None),
    ("GET", "/metadata", None),
    ("GET", "/schema", None),
    ("GET", "/state", None),
    ("GET", "/docs", None),
    ("GET", "/openapi.json", None),
    ("POST", "/step", {"action": {"type": "list_tools"}}),
    ("POST", "/step", {"action": 5}),
    ("POST", "/reset", {"task_id": "none"}),
    ("GET", "/ml_trainer_env/splits", None),
    ("POST", "/ml_trainer_env/task", {"split": "named", "index": 0}),
    ("GET", "/mcp", None),
    ("DELETE", "/mcp", None),
    ("PUT", "/mcp", None),
    ("OPTIONS", "/mcp", None),
    ("POST", "/mcp", RPC),
    ("POST", "/mcp", {**RPC, "params": {"session_id": []}}),
    ("POST", "/mcp", {**RPC, "method": "tools/call", "params": {"name": "run_epochs", "arguments": "{}"}}),
    ("GET", "/no/such/path", None),
]


@pytest.mark.parametrize("slashes", ["/", "//"])
@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
def test_a_slash_at_the_end_makes_no_difference(
    http: httpx.Client, method: str, path: str, body: Any, slashes: str
) -> None:
    plain, slashed = (http.request(method, path + end, json=body) for end in ("", slashes))

    assert (slashed.status_code, slashed.content) == (plain.status_code, plain.content)
    assert slashed.status_code not in {307, 308}


def test_a_session_of_mcp_is_played_at_either_address(http: httpx.Client) -> None:
    client = {"name": "a test", "version": "1"}
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
    opened = http.post("/mcp/", json={**RPC, "method": "initialize", "params": params}, headers=EVENTS)
    session = {**EVENTS, "mcp-session-id": opened.headers["mcp-session-id"]}

    assert "start_task" in http.post("/mcp/", json=RPC, headers=session).text
    assert http.delete("/mcp/", headers=session).status_code == 200
    assert http.post("/mcp", json=RPC, headers=session).status_code == 404


@pytest.mark.parametrize(("path", "message"), [("/ws/", {"type": "state"}), ("/mcp/", RPC)])
def test_a_socket_opens_at_either_address(live_server: str, path: str, message: dict[str, Any]) -> None:
    with connect(live_server.replace("http", "ws") + path, proxy=None) as socket:
        socket.send(json.dumps(message))
        assert "error" not in json.loads(socket.recv(60.0))


@pytest.mark.parametrize("path", ["/health/", "/ready//", "/login/", "/mcp/", "/state/", "//"])
@pytest.mark.parametrize("websocket", [False, True])
def test_no_slash_opens_a_closed_door(secured: Any, path: str, websocket: bool) -> None:
    closed = secured("a-secret-of-the-tests")

    assert closed.ask(path, websocket=websocket).status == 401
    assert closed.inside.seen == []


def test_the_first_page_has_one_address_with_and_without_a_slash(secured: Any) -> None:
    opened = secured("")
    for path in ("/web/", "/web", "/"):
        opened.ask(path)

    assert opened.inside.seen == ["/web", "/web", "/"]
