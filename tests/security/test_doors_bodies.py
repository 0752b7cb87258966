"""How large a request and a message may be."""

import asyncio
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from ml_trainer_env.server.security import MAX_BODY_BYTES
from ml_trainer_env.server.security.frames import FrameMiddleware


def padded(size: int) -> bytes:
    """A request for the state of nothing, of so many bytes."""
    return json.dumps({"split": "named"}).encode().ljust(size)


def in_chunks(body: bytes) -> Iterator[bytes]:
    """Without a Content-Length."""
    for start in range(0, len(body), 65_536):
        yield body[start : start + 65_536]


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_a_body_at_the_limit_is_taken_and_one_byte_more_is_not(http: httpx.Client, chunked: bool) -> None:
    def send(size: int) -> httpx.Response:
        content = in_chunks(padded(size)) if chunked else padded(size)
        return http.post("/ml_trainer_env/num_tasks", content=content, headers={"Content-Type": "application/json"})

    assert send(MAX_BODY_BYTES).json() == {"num_tasks": 4}
    refused = send(MAX_BODY_BYTES + 1)
    assert refused.status_code == 413
    assert "1,000,000 bytes" in refused.json()["detail"]
    assert send(100).status_code == 200


@pytest.mark.parametrize("path", ["/reset", "/step", "/mcp", "/no/such/path"])
def test_a_body_that_is_announced_as_too_large_is_refused_before_it_comes(http: httpx.Client, path: str) -> None:
    address = urlsplit(str(http.base_url))
    connection = http_client(address.hostname, address.port)
    connection.putrequest("POST", path)
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(10**15))
    connection.endheaders()

    response = connection.getresponse()

    assert response.status == 413
    assert "detail" in json.loads(response.read())
    connection.close()


def http_client(host: Any, port: Any) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(host, port, timeout=60.0)


@pytest.mark.parametrize("path", ["/ws", "/mcp"])
@pytest.mark.parametrize("character", [" ", "\N{SNOWMAN}"])
def test_a_message_at_the_limit_is_taken_and_a_character_more_closes_the_socket(
    live_server: str, path: str, character: str
) -> None:
    text = character * (MAX_BODY_BYTES // len(character.encode()))

    with connect(live_server.replace("http", "ws") + path, proxy=None, max_size=None) as socket:
        socket.send(text)
        assert "invalid JSON" in str(socket.recv(60.0))
        socket.send(text + character)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(60.0)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize("data", [b" " * 11, " " * 11, "\N{SNOWMAN}" * 4], ids=["bytes", "text", "characters of three"])
def test_a_server_that_takes_larger_messages_is_stopped_at_the_door(data: bytes | str) -> None:
    received = [{"type": "websocket.receive", "bytes" if isinstance(data, bytes) else "text": data}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return received.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def app(_: Any, receive: Any, __: Any) -> None:
        assert (await receive())["type"] == "websocket.disconnect"

    asyncio.run(FrameMiddleware(app, limit=10)({"type": "websocket", "path": "/ws"}, receive, send))

    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1009)]
