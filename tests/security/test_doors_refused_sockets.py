"""A refused WebSocket is the caller's mistake: it is answered in words, and the log has no error of the server's."""

import json
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

pytestmark = pytest.mark.slow  # the log is a process's

TOKEN = "a-secret-of-the-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
REFUSED = {
    "no token": ({}, 401),
    "another token": ({"Authorization": "Bearer another-secret-here"}, 401),
    "a page of another server": ({**BEARER, "Origin": "https://example.org"}, 403),
}


@pytest.fixture(scope="module")
def server(start_server: Any) -> Any:
    return start_server(ML_TRAINER_TOKEN=TOKEN, ML_TRAINER_MAX_SESSIONS="1")


def records(server: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log_path.read_text().splitlines()]


def wrong(server: Any) -> list[dict[str, Any]]:
    return [record for record in records(server) if record["level"] in {"WARNING", "ERROR", "CRITICAL"}]


@pytest.mark.parametrize("path", ["/ws", "/mcp", "/no/such/path"])
@pytest.mark.parametrize("reason", REFUSED)
def test_a_refused_socket_is_no_error_in_the_log(server: Any, path: str, reason: str) -> None:
    headers, status = REFUSED[reason]
    before = len(records(server))

    with pytest.raises(InvalidStatus) as refusal:
        connect(server.url.replace("http", "ws") + path, additional_headers=headers, proxy=None)

    assert refusal.value.response.status_code == status
    assert json.loads(refusal.value.response.body or b"{}")["detail"]
    assert any(f'"WebSocket {path}" {status}' in record["message"] for record in records(server)[before:])
    assert wrong(server) == []


@pytest.mark.parametrize("path", ["/ws", "/mcp"])
def test_a_server_that_is_full_says_so_and_logs_no_error(server: Any, path: str) -> None:
    url = server.url.replace("http", "ws")
    with connect(f"{url}/ws", additional_headers=BEARER, proxy=None) as held:
        held.send('{"type": "state"}')
        held.recv(60.0)
        with connect(url + path, additional_headers=BEARER, proxy=None) as second, suppress(ConnectionClosed):
            assert "capacity" in str(second.recv(60.0))

    assert wrong(server) == []
