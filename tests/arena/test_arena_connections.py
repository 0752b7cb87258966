"""Idle and slow connections do not shut anybody out."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request
from starlette.types import Message

from ml_trainer_env.arena.connections import ConnectionLimits, limited_protocol
from ml_trainer_env.arena.errors import SlowBodyError
from ml_trainer_env.arena.files.uploads import timed

LONG_S = 3600.0
WAIT_S = 60.0


class Server:
    """A server whose requests to `/wait` run until they are let go."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.running = threading.Semaphore(0)
        self.let_go = threading.Event()

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S)


@contextmanager
def serving(limits: ConnectionLimits) -> Iterator[Server]:
    app = FastAPI()
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    found = Server(listener.getsockname()[1])

    @app.get("/")
    async def answer() -> dict[str, bool]:
        return {"ok": True}

    @app.get("/wait")
    def wait() -> dict[str, bool]:
        found.running.release()
        return {"ok": found.let_go.wait(WAIT_S)}

    @app.post("/body")
    async def body(request: Request) -> dict[str, int]:
        return {"size": len(await request.body())}

    server = uvicorn.Server(uvicorn.Config(app, http=limited_protocol(limits), log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield found
    finally:
        found.let_go.set()
        server.should_exit = True
        thread.join()
        listener.close()


def is_closed(connection: socket.socket) -> bool:
    """Whether the other end closes the connection. Waits until it does."""
    with contextlib.suppress(ConnectionResetError):
        return connection.recv(1) == b""
    return True


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "half a head"])
def test_a_connection_that_sends_no_request_is_closed(sent: bytes) -> None:
    with serving(ConnectionLimits(10, 10, head_s=0.2)) as server, server.connect() as idle:
        idle.sendall(sent)

        assert is_closed(idle)


def test_a_head_that_begins_after_an_answer_has_a_time_limit_too() -> None:
    with serving(ConnectionLimits(10, 10, head_s=0.2)) as server, server.connect() as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while b'{"ok":true}' not in answer:
            answer += slow.recv(1000)
        slow.sendall(b"GET / HT")

        assert is_closed(slow)


def test_a_request_that_runs_for_longer_than_a_head_may_take_is_answered() -> None:
    with serving(ConnectionLimits(10, 10, head_s=0.05)) as server, server.connect() as idle:
        waiting = threading.Thread(target=lambda: answers.append(httpx.get(server.url("/wait"), timeout=WAIT_S)))
        answers: list[httpx.Response] = []
        waiting.start()
        assert server.running.acquire(timeout=WAIT_S)
        assert is_closed(idle)  # so the time limit of a head has passed
        server.let_go.set()
        waiting.join()

        assert [answer.status_code for answer in answers] == [200]


def test_idle_connections_of_one_address_make_room() -> None:
    with serving(ConnectionLimits(1000, 5, LONG_S)) as server, contextlib.ExitStack() as opened:
        idle = [opened.enter_context(server.connect()) for _ in range(20)]

        assert httpx.get(server.url(), timeout=WAIT_S).status_code == 200
        assert all(is_closed(one) for one in idle[:15])


def test_idle_connections_of_all_make_room() -> None:
    limits = ConnectionLimits(5, 1000, LONG_S, frozenset({"127.0.0.1"}))
    with serving(limits) as server, contextlib.ExitStack() as opened:
        idle = [opened.enter_context(server.connect()) for _ in range(20)]

        assert httpx.get(server.url(), timeout=WAIT_S).status_code == 200
        assert all(is_closed(one) for one in idle[:15])


@pytest.mark.parametrize(("proxies", "status"), [(frozenset(), 503), (frozenset({"127.0.0.1"}), 200)])
def test_an_address_runs_so_many_requests_at_once_unless_it_is_a_proxy(proxies: Any, status: int) -> None:
    with serving(ConnectionLimits(1000, 2, LONG_S, proxies)) as server:
        waiting = [
            threading.Thread(target=httpx.get, args=(server.url("/wait"),), kwargs={"timeout": WAIT_S})
            for _ in range(2)
        ]
        for one in waiting:
            one.start()
            assert server.running.acquire(timeout=WAIT_S)

        answer = httpx.get(server.url(), timeout=WAIT_S)
        server.let_go.set()
        for one in waiting:
            one.join()

        assert answer.status_code == status
        assert status == 200 or answer.json() == {"error": "too many requests at once: try again shortly"}


@pytest.mark.slow
def test_a_thousand_idle_sockets_do_not_keep_the_service_from_answering(arena: Any) -> None:
    port = int(arena.url.rpartition(":")[2])
    with contextlib.ExitStack() as opened:
        for _ in range(1010):
            opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=WAIT_S))

        assert httpx.get(f"{arena.url}/health", timeout=WAIT_S).status_code == 200


def test_a_body_that_comes_too_slowly_is_refused() -> None:
    async def main() -> None:
        silent: Callable[[], Awaitable[Message]] = asyncio.Event().wait  # type: ignore[assignment]
        with pytest.raises(SlowBodyError):
            await timed(silent, body_s=0.01)()

    asyncio.run(main())


def test_what_has_come_of_a_body_gives_it_time() -> None:
    chunk: Message = {"type": "http.request", "body": bytes(10**6), "more_body": True}

    async def main() -> None:
        first = True

        async def receive() -> Message:
            nonlocal first
            if first:
                first = False
                return chunk
            await asyncio.sleep(0.05)
            return chunk

        channel = timed(receive, body_s=0.04)
        assert await channel() == await channel() == chunk

    asyncio.run(main())
