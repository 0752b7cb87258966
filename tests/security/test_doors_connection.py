"""A client that goes while a call of its is being worked on: it is noticed, and nothing else changes for anybody."""

# ruff: noqa: ARG001  # an application takes a scope, receive and send, whether it needs them or not

import asyncio
import contextlib
import json
import queue
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
import uvicorn
from sse_starlette.sse import EventSourceResponse
from starlette.responses import StreamingResponse
from websockets.sync.client import connect

from ml_trainer_env.server.security.connection import READ_AHEAD, Connection, ConnectionMiddleware, current_connection

LIVENESS_S = 240.0
"""How long a test waits for what must come, on a machine however busy."""

Told = queue.Queue[str]
Serve = Callable[[Any], AbstractContextManager[str]]


@pytest.fixture
def told() -> Told:
    """What the application tells the test."""
    return queue.Queue()


@pytest.fixture
def serve() -> Serve:
    """Serves an application, watched, on a port of this machine until the block ends."""

    @contextlib.contextmanager
    def serve(app: Any) -> Iterator[str]:
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(ConnectionMiddleware(app), lifespan="off", log_config=None))
        thread = threading.Thread(target=lambda: server.run([listener]))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(LIVENESS_S)
            listener.close()
        assert not thread.is_alive()

    return serve


async def begin_to_answer(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def answer(send: Any, body: bytes = b"done") -> None:
    await begin_to_answer(send)
    await send({"type": "http.response.body", "body": body})


async def until_gone() -> None:
    """Works on a call until the client has gone."""
    connection = current_connection()
    assert connection is not None
    gone = asyncio.Event()
    with connection.on_disconnect(gone.set):
        await asyncio.wait_for(gone.wait(), LIVENESS_S)


class TestHttp:
    """A request over HTTP."""

    def test_a_client_that_goes_is_noticed_while_its_call_is_worked_on(self, serve: Serve, told: Told) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            told.put("working")
            await until_gone()
            told.put("gone")
            told.put((await receive())["type"])
            told.put((await receive())["type"])

        with serve(app) as url:
            with socket.create_connection(("127.0.0.1", int(url.rsplit(":")[-1]))) as client:
                client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
                assert told.get(timeout=LIVENESS_S) == "working"
            seen = [told.get(timeout=LIVENESS_S) for _ in range(3)]

        assert seen == ["gone", "http.disconnect", "http.disconnect"]

    def test_a_client_that_goes_while_a_body_comes_is_noticed_too(self, serve: Serve, told: Told) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            told.put((await receive())["body"].decode())
            told.put((await receive())["type"])

        with serve(app) as url:
            with socket.create_connection(("127.0.0.1", int(url.rsplit(":")[-1]))) as client:
                client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
                assert told.get(timeout=LIVENESS_S) == "half"
            assert told.get(timeout=LIVENESS_S) == "http.disconnect"

    def test_a_client_that_waits_is_answered_and_not_taken_for_gone(self, serve: Serve, told: Told) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            connection = current_connection()
            assert connection is not None
            with connection.on_disconnect(lambda: told.put("gone")):
                body = (await receive())["body"]
                await asyncio.sleep(0.05)
                await answer(send, body)
                told.put((await receive())["type"])  # as it is after an answer, whether the client stays or not
                assert current_connection() is None
                told.put("over")

        with serve(app) as url, httpx.Client(base_url=url, trust_env=False) as http:
            for body in (b"one", b"two"):  # over one connection
                assert http.post("/", content=body).content == body
                assert [told.get(timeout=LIVENESS_S) for _ in range(2)] == ["http.disconnect", "over"]
            assert told.empty()

    @pytest.mark.parametrize("chunks", [[b"a", b"b", b"c"] * 50, [b"x" * 300_000] * 3, []])
    def test_a_body_comes_whole_and_in_order(self, serve: Serve, chunks: list[bytes]) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            body, more = b"", True
            while more:
                message = await receive()
                body, more = body + message["body"], message["more_body"]
            await answer(send, body)

        with serve(app) as url:
            assert httpx.post(url, content=iter(chunks), trust_env=False).content == b"".join(chunks)

    def test_an_application_that_does_not_read_answers_all_the_same(self, serve: Serve) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await answer(send)

        with serve(app) as url, httpx.Client(base_url=url, trust_env=False) as http:
            assert [http.post("/", content=b"x").content for _ in range(3)] == [b"done"] * 3

    @pytest.mark.parametrize("kind", [StreamingResponse, EventSourceResponse])
    def test_a_stream_ends_when_its_client_goes(self, serve: Serve, told: Told, kind: Any) -> None:
        async def numbers() -> AsyncIterator[str]:
            try:
                for number in range(1_000_000):
                    yield f"{number}\n"
                    await asyncio.sleep(0.005)
            finally:
                told.put("ended")

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            with contextlib.suppress(Exception):
                await kind(numbers())(scope, receive, send)
            told.put("served")

        with serve(app) as url:
            with httpx.stream("GET", url, trust_env=False) as response:
                assert next(response.iter_lines())
            assert {told.get(timeout=LIVENESS_S) for _ in range(2)} == {"ended", "served"}

    @pytest.mark.parametrize("kind", [StreamingResponse, EventSourceResponse])
    def test_a_stream_whose_client_stays_comes_whole(self, serve: Serve, kind: Any) -> None:
        async def numbers() -> AsyncIterator[str]:
            for number in range(100):
                yield f"{number}\n"

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await kind(numbers())(scope, receive, send)

        with serve(app) as url:
            text = httpx.get(url, trust_env=False).text

        assert [line.removeprefix("data: ") for line in text.split() if line != "data:"] == [str(n) for n in range(100)]

    def test_an_error_of_the_application_is_its_answer(self, serve: Serve) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            raise ZeroDivisionError

        with serve(app) as url:
            assert httpx.get(url, trust_env=False).status_code == 500


class TestWebSocket:
    """A socket."""

    def test_a_client_that_goes_is_noticed_while_its_call_is_worked_on(self, serve: Serve, told: Told) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            told.put((await receive())["text"])
            await until_gone()
            for _ in range(4):  # what it had sent before it went is there, in order; and it stays gone
                message = await receive()
                told.put(message.get("text") or message["type"])

        with serve(app) as url:
            with connect(url.replace("http", "ws"), proxy=None) as client:
                for text in ("call", "second", "third"):
                    client.send(text)
                assert told.get(timeout=LIVENESS_S) == "call"
            seen = [told.get(timeout=LIVENESS_S) for _ in range(4)]

        assert seen == ["second", "third", "websocket.disconnect", "websocket.disconnect"]

    def test_a_client_that_just_vanishes_is_noticed_too(self, serve: Serve, told: Told) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            told.put((await receive())["text"])
            await until_gone()
            told.put("gone")

        with serve(app) as url:
            with connect(url.replace("http", "ws"), proxy=None) as client:
                client.send("call")
                assert told.get(timeout=LIVENESS_S) == "call"
                client.socket.shutdown(socket.SHUT_RDWR)
            assert told.get(timeout=LIVENESS_S) == "gone"

    def test_many_messages_sent_during_a_call_are_all_read_in_order(self, serve: Serve) -> None:
        count = 5 * READ_AHEAD

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            texts = []
            for _ in range(count):
                texts.append((await receive())["text"])
                await asyncio.sleep(0.001)
            await send({"type": "websocket.send", "text": json.dumps(texts)})
            await send({"type": "websocket.close"})

        with serve(app) as url, connect(url.replace("http", "ws"), proxy=None) as client:
            for number in range(count):
                client.send(str(number))
            assert json.loads(client.recv(LIVENESS_S)) == [str(number) for number in range(count)]

    def test_a_socket_that_is_refused_is_refused(self, serve: Serve) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.close", "code": 1008})

        with serve(app) as url, pytest.raises(Exception, match="403"):
            connect(url.replace("http", "ws"), proxy=None)


class TestReadingAhead:
    """The order of things, with a server that is a script."""

    def test_so_many_messages_are_read_ahead_and_no_more(self, run: Any) -> None:
        async def check() -> None:
            read = 0

            async def receive() -> dict[str, Any]:
                nonlocal read
                read += 1
                await asyncio.sleep(0)
                return {"type": "websocket.receive", "text": str(read)}

            async def app(scope: Any, receive: Any, send: Any) -> None:
                assert (await receive())["text"] == "1"
                for _ in range(10 * READ_AHEAD):
                    await asyncio.sleep(0)
                assert read == READ_AHEAD + 2  # one is in the application's hands, and one in the reader's
                assert [(await receive())["text"] for _ in range(50)] == [str(number) for number in range(2, 52)]

            await ConnectionMiddleware(app)({"type": "websocket"}, receive, nowhere)
            assert asyncio.all_tasks() == {asyncio.current_task()}

        run(check())

    def test_an_error_of_the_server_reaches_the_application_where_it_reads(self, run: Any) -> None:
        async def check() -> None:
            async def app(scope: Any, receive: Any, send: Any) -> None:
                for _ in range(2):
                    with pytest.raises(OSError, match="broken"):
                        await receive()

            async def receive() -> dict[str, Any]:
                raise OSError("broken")

            await ConnectionMiddleware(app)({"type": "http"}, receive, nowhere)
            assert asyncio.all_tasks() == {asyncio.current_task()}

        run(check())

    def test_an_application_that_stops_waiting_loses_no_message(self, run: Any) -> None:
        async def check() -> None:
            may_come = asyncio.Event()

            async def receive() -> dict[str, Any]:
                await may_come.wait()
                may_come.clear()
                return {"type": "websocket.receive", "text": "kept"}

            async def app(scope: Any, receive: Any, send: Any) -> None:
                for _ in range(3):
                    with pytest.raises(asyncio.TimeoutError):
                        await asyncio.wait_for(receive(), 0.001)
                may_come.set()
                assert (await receive())["text"] == "kept"

            await ConnectionMiddleware(app)({"type": "websocket"}, receive, nowhere)

        run(check())

    def test_the_reader_ends_with_an_application_that_fails_or_is_stopped(self, run: Any) -> None:
        async def check() -> None:
            async def app(scope: Any, receive: Any, send: Any) -> None:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(receive(), 0.001)
                raise ZeroDivisionError

            async def stuck(scope: Any, receive: Any, send: Any) -> None:
                await receive()

            with pytest.raises(ZeroDivisionError):
                await ConnectionMiddleware(app)({"type": "http"}, never, nowhere)
            call = asyncio.create_task(ConnectionMiddleware(stuck)({"type": "http"}, never, nowhere))
            await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert current_connection() is None

        run(check())

    def test_a_task_that_outlives_its_request_has_no_connection(self, run: Any) -> None:
        async def check() -> None:
            answered = asyncio.Event()

            async def later() -> Connection | None:
                await answered.wait()
                return current_connection()

            async def app(scope: Any, receive: Any, send: Any) -> None:
                assert current_connection() is not None
                tasks.append(asyncio.create_task(later()))
                await answer(send)

            tasks: list[asyncio.Task[Connection | None]] = []
            await ConnectionMiddleware(app)({"type": "http"}, never, nowhere)
            answered.set()
            assert await tasks[0] is None

        run(check())

    def test_the_lifespan_is_none_of_its_business(self, run: Any) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert receive is never
            assert current_connection() is None

        run(ConnectionMiddleware(app)({"type": "lifespan"}, never, nowhere))


class TestConnection:
    """What a call can learn of its client."""

    def test_whoever_asks_late_is_told_at_once_and_once(self) -> None:
        connection, calls = Connection(), []
        connection.mark_disconnected()

        with connection.on_disconnect(lambda: calls.append("told")):
            assert calls == ["told"]
            connection.mark_disconnected()

        assert (calls, connection.is_disconnected) == (["told"], True)

    def test_nobody_is_told_after_the_block(self) -> None:
        connection, calls = Connection(), []

        with connection.on_disconnect(lambda: calls.append("told")):
            pass
        connection.mark_disconnected()

        assert calls == []

    def test_the_same_callback_may_be_there_twice_and_one_that_fails_keeps_none_from_the_rest(self) -> None:
        connection, calls = Connection(), []

        def fail() -> None:
            raise ZeroDivisionError

        def note() -> None:
            calls.append("told")

        with connection.on_disconnect(note), connection.on_disconnect(fail), connection.on_disconnect(note):
            connection.mark_disconnected()
            connection.mark_disconnected()

        assert calls == ["told", "told"]

    def test_a_client_that_was_answered_has_not_gone(self) -> None:
        connection, calls = Connection(), []
        connection.mark_answered()

        with connection.on_disconnect(lambda: calls.append("told")):
            connection.mark_disconnected()

        assert (calls, connection.is_disconnected, connection.is_answered) == ([], False, True)

    def test_outside_of_a_request_there_is_none(self) -> None:
        assert current_connection() is None


async def never() -> dict[str, Any]:
    """A client that sends nothing."""
    return await asyncio.Event().wait()


async def nowhere(message: dict[str, Any]) -> None:
    """A client that reads nothing."""


@pytest.fixture
def run() -> Callable[[Any], Any]:
    """Runs a coroutine, within the time a test may take."""

    async def limited(work: Any) -> Any:
        async with asyncio.timeout(LIVENESS_S):
            return await work

    return lambda work: asyncio.run(limited(work))
