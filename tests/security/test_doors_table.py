"""Who may call what, asked from outside of a server with a token: every way in, with all that one might present."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from served_here import served_here
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from ml_trainer_env import MLTrainerEnv

LIVENESS_S = 240.0
"""How long a test waits for what must come, on a machine however busy."""

TOKEN = "correct-horse-battery"
COOKIE = hmac.new(TOKEN.encode(), b"ml_trainer_token", hashlib.sha256).hexdigest()

RIGHT = {
    "the token": {"Authorization": f"Bearer {TOKEN}"},
    "the cookie": {"Cookie": f"other=1; ml_trainer_token={COOKIE}"},
}
WRONG = {
    "nothing": {},
    "another token": {"Authorization": "Bearer incorrect-horse-battery"},
    "a password": {"Authorization": f"Basic {TOKEN}"},
    "another header": {"X-API-Key": TOKEN, "ML_TRAINER_TOKEN": TOKEN},
    "another cookie": {"Cookie": f"ml_trainer_token={'0' * 64}"},
    "the token as cookie": {"Cookie": f"ml_trainer_token={TOKEN}"},
    "the cookie as token": {"Authorization": f"Bearer {COOKIE}"},
}

OPEN = [("GET", "/health", None), ("GET", "/ready", None)]
CLOSED = [
    ("GET", "/metrics", None),
    ("GET", "/metadata", None),
    ("GET", "/schema", None),
    ("GET", "/state", None),
    ("POST", "/reset", {}),
    ("POST", "/step", {"action": {"type": "list_tools"}}),
    ("GET", "/list_environments", None),
    ("GET", "/ml_trainer_env/splits", None),
    ("POST", "/ml_trainer_env/tasks", {"split": "named"}),
    ("POST", "/ml_trainer_env/num_tasks", {"split": "named"}),
    ("POST", "/ml_trainer_env/task", {"split": "named", "index": 0}),
    ("POST", "/ml_trainer_env/task_range", {"split": "named"}),
    ("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
    ("GET", "/openapi.json", None),
    ("GET", "/docs", None),
    ("GET", "/redoc", None),
    ("GET", "/", None),
    ("GET", "/web", None),
    ("GET", "/web/", None),
    ("GET", "/room", None),
    ("GET", "/room/play", None),
    ("GET", "/room/api/live", None),
]
SOCKETS = ["/ws", "/mcp"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    with served_here(tmp_path_factory.mktemp("doors"), TOKEN=TOKEN) as (address, _):
        yield SimpleNamespace(url=f"http://{address}")


def wait_until_ready(url: str) -> None:
    """Waits for its workers."""
    ends_at = time.monotonic() + LIVENESS_S
    with httpx.Client(base_url=url, trust_env=False) as http:
        while http.get("/ready").status_code != 200:
            assert time.monotonic() < ends_at, "the server is not ready"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def http(server: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60.0, trust_env=False) as client:
        yield client


def ways(rows: list[Any]) -> Any:
    return pytest.mark.parametrize(("method", "path", "body"), rows, ids=lambda value: str(value)[:30])


def opened(url: str, path: str, presented: dict[str, str]) -> int:
    """The status that a request to open a WebSocket is answered with."""
    try:
        with connect(url.replace("http", "ws") + path, additional_headers=presented, proxy=None):
            return 101
    except InvalidStatus as refusal:
        return int(refusal.response.status_code)


@ways(OPEN)
@pytest.mark.parametrize("presented", [*RIGHT, *WRONG])
def test_probes_are_for_everybody(http: httpx.Client, method: str, path: str, body: Any, presented: str) -> None:
    assert http.request(method, path, json=body, headers={**RIGHT, **WRONG}[presented]).status_code == 200


@ways(CLOSED)
@pytest.mark.parametrize("presented", RIGHT)
def test_the_token_opens_every_route(http: httpx.Client, method: str, path: str, body: Any, presented: str) -> None:
    response = http.request(method, path, json=body, headers=RIGHT[presented])

    assert response.status_code == 200, response.text


@ways(CLOSED)
@pytest.mark.parametrize("presented", WRONG)
def test_nothing_else_opens_any(http: httpx.Client, method: str, path: str, body: Any, presented: str) -> None:
    response = http.request(method, path, json=body, headers=WRONG[presented])

    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert "ML_TRAINER_TOKEN" in response.json()["detail"]


@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize("presented", RIGHT)
def test_the_token_opens_every_socket(server: Any, path: str, presented: str) -> None:
    assert opened(server.url, path, RIGHT[presented]) == 101


@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize("presented", WRONG)
def test_nothing_else_opens_any_socket(server: Any, path: str, presented: str) -> None:
    assert opened(server.url, path, WRONG[presented]) == 401


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "MADE-UP"])
@pytest.mark.parametrize("path", ["/", "/mcp", "/no/such/path", "/web", "/static/x", "/login"])
def test_whoever_presents_nothing_does_not_even_learn_what_there_is(http: httpx.Client, method: str, path: str) -> None:
    assert http.request(method, path).status_code == 401


def test_every_route_that_the_server_publishes_is_in_the_table(http: httpx.Client) -> None:
    routes = http.get("/openapi.json", headers=RIGHT["the token"]).json()["paths"]
    published = {(method.upper(), path) for path, methods in routes.items() for method in methods}

    listed = {(method, path.replace("/ml_trainer_env/", "/{env_name}/")) for method, path, _ in [*OPEN, *CLOSED]}
    assert published <= listed


def test_a_token_in_the_query_is_none(http: httpx.Client, server: Any) -> None:
    assert http.get("/state", params={"token": TOKEN, "access_token": TOKEN}).status_code == 401
    assert opened(server.url, f"/ws?token={TOKEN}", {}) == 401


def test_the_python_client_presents_it_as_a_header(server: Any) -> None:
    with MLTrainerEnv(base_url=server.url, headers=RIGHT["the token"]) as env:
        assert env.reset().observation.task.id == "easy_mnist"
        assert env.call_tool("get_training_status")["current_epoch"] == 0

    with pytest.raises(ConnectionError, match="401"), MLTrainerEnv(base_url=server.url) as env:
        env.reset()


def test_a_refusal_begins_no_session(http: httpx.Client) -> None:
    create = {"jsonrpc": "2.0", "id": 1, "method": "openenv/session/create"}

    assert http.post("/mcp", json=create).status_code == 401
    answer = http.post("/mcp", json=create, headers=RIGHT["the token"]).json()
    session = {"session_id": answer["result"]["session_id"]}

    status = {"jsonrpc": "2.0", "id": 1, "method": "openenv/session/close", "params": session}
    assert http.post("/mcp", json=status).status_code == 401
    assert http.post("/mcp", json=status, headers=RIGHT["the token"]).json()["result"]["closed"] is True


@pytest.mark.slow  # the log is a process's
def test_the_log_is_json_and_holds_neither_token_nor_cookie_nor_query(start_server: Any) -> None:
    server = start_server(ML_TRAINER_TOKEN=TOKEN)
    httpx.get(f"{server.url}/state?token={TOKEN}", trust_env=False)
    opened(server.url, "/ws?session_id=who-reads-it-may-use-it", RIGHT["the token"])

    lines = [json.loads(line) for line in server.log.splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    assert any("GET /state" in line["message"] for line in lines)
    assert any('"WebSocket /ws"' in line["message"] for line in lines)
    for secret in (TOKEN, COOKIE, "who-reads-it-may-use-it"):
        assert secret not in server.log


def test_a_server_without_token_lets_this_machine_in_everywhere(live_server: str) -> None:
    wait_until_ready(live_server)
    with httpx.Client(base_url=live_server, timeout=60.0, trust_env=False) as http:
        for method, path, body in [*OPEN, *CLOSED]:
            assert http.request(method, path, json=body).status_code == 200, path
    assert opened(live_server, "/ws", {}) == opened(live_server, "/mcp", {}) == 101


def test_a_socket_opened_by_a_page_of_another_server_is_refused(live_server: str) -> None:
    assert opened(live_server, "/ws", {"Origin": "http://evil.example"}) == 403
    assert opened(live_server, "/mcp", {"Origin": "http://evil.example"}) == 403
    assert opened(live_server, "/ws", {"Origin": live_server}) == 101


def test_a_request_under_a_name_that_was_pointed_here_is_refused(live_server: str) -> None:
    for path in ("/reset", "/mcp"):
        headers = {"Host": "evil.example", "Origin": "http://evil.example"}
        assert httpx.post(f"{live_server}{path}", json={}, headers=headers, trust_env=False).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"action": 5},
        {"action": {}},
        {"action": {"type": []}},
        {"action": {"tool_name": [1]}},
        {"action": {"type": "call_tool", "tool_name": "x", "arguments": 5}},
        {"message": "x"},
    ],
)
def test_a_caller_is_told_of_an_action_that_is_none(http: httpx.Client, body: Any) -> None:
    assert http.post("/step", json=body, headers=RIGHT["the token"]).status_code == 422


def test_a_person_logs_in_and_sees_the_page(server: Any) -> None:
    browser = {"Accept": "text/html", "Origin": server.url}
    with httpx.Client(base_url=server.url, headers=browser, trust_env=False, follow_redirects=True) as http:
        assert http.get("/web").status_code == 401
        page = http.post("/login", data={"token": TOKEN})

        assert page.status_code == 200
        assert '<h1 id="live-title">Live</h1>' in page.text
        assert http.get("/room/api/live").status_code == 200
