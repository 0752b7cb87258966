"""Keys of requests that mean something to Python: whatever they are called, they are refused or ignored in words."""

import functools
import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openenv.core.env_server.http_server import HTTPEnvServer
from openenv.core.env_server.types import ResetRequest, StepRequest
from websockets.sync.client import ClientConnection, connect

from ml_trainer_env.server.openenv.environment import GameEnvironment


def _parameters(*owners: type) -> set[str]:
    """Names of the parameters of all methods between a request and the episode."""
    methods = [method for owner in owners for _, method in inspect.getmembers(owner, inspect.isfunction)]
    return {name for method in methods for name in inspect.signature(method).parameters}


@functools.cache
def keys() -> list[str]:
    """Names of parameters and attributes, and others."""
    return sorted(
        _parameters(GameEnvironment, HTTPEnvServer, ResetRequest, StepRequest)
        | {"self", "cls", "args", "kwargs", "request", "func", "f", "a", "kw", "ctx", "context", "arguments", "name"}
        | {"tool", "tool_name", "tool_call", "type", "model_dump", "model_config", "model_fields", "__init__"}
        | {"__class__", "__dict__", "__pydantic_extra__", "", " ", "None", "lambda", "\0", "é", "_env"}
    )


OPTIONS = {"task_id", "seed", "episode_id", "rubric", "resume", "fork_from", "split", "index", "agent"}
PROSE = ("multiple values", "unexpected keyword", "positional argument", "Traceback", "object at 0x")
"""What only Python says, of a call that it could not make."""

values = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=5), st.just([]), st.just({}))
objects = st.dictionaries(st.deferred(lambda: st.sampled_from(keys())), values, min_size=1, max_size=3)
Law = Callable[[Callable[[dict[str, Any]], None]], None]


@pytest.fixture
def law() -> Law:
    """Runs a check on every key alone, and on objects of several."""

    def run(check: Callable[[dict[str, Any]], None]) -> None:
        for key in keys():
            check({key: 1})

        @settings(
            max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(objects)
        def drawn(value: dict[str, Any]) -> None:
            check(value)

        drawn()

    return run


@pytest.fixture
def socket(live_server: str) -> Iterator[ClientConnection]:
    with connect(live_server.replace("http", "ws") + "/ws", proxy=None) as opened:
        yield opened


def _plain(text: str) -> bool:
    return not any(prose in text for prose in PROSE)


@pytest.mark.slow
def test_a_reset_takes_its_options_and_refuses_every_other_key(http: httpx.Client, law: Law) -> None:
    def check(body: dict[str, Any]) -> None:
        answer = http.post("/reset", json=body)
        assert answer.status_code in ({200, 422} if set(body) <= OPTIONS else {422}), (body, answer.text)
        assert _plain(answer.text), answer.text

    law(check)


def test_a_reset_over_the_socket_does_the_same(socket: ClientConnection, law: Law) -> None:
    def check(data: dict[str, Any]) -> None:
        socket.send(json.dumps({"type": "reset", "data": data}))
        answer = json.loads(socket.recv(60.0))
        assert answer["type"] == "error" or set(data) <= OPTIONS, (data, answer)
        assert _plain(str(answer)), answer

    law(check)


@pytest.mark.slow
def test_a_step_is_no_server_error_whatever_lies_beside_its_action(http: httpx.Client, law: Law) -> None:
    def check(body: dict[str, Any]) -> None:
        answer = http.post("/step", json={**body, "action": {"type": "list_tools"}})
        assert answer.status_code in {200, 422}, (body, answer.text)
        assert _plain(answer.text), answer.text

    law(check)


def test_an_action_with_further_keys_is_refused(http: httpx.Client, socket: ClientConnection, law: Law) -> None:
    def check(more: dict[str, Any]) -> None:
        action = {**more, "type": "call_tool", "tool_name": "get_training_status"}
        answer = http.post("/step", json={"action": action})
        assert answer.status_code in {200, 422}, (action, answer.text)
        assert _plain(answer.text), answer.text
        socket.send(json.dumps({"type": "step", "data": action}))
        assert _plain(str(json.loads(socket.recv(60.0))))

    law(check)


def test_an_argument_that_a_tool_has_not_is_named(live_server: str, http: httpx.Client, law: Law) -> None:
    with connect(live_server.replace("http", "ws") + "/mcp", proxy=None) as socket:

        def check(arguments: dict[str, Any]) -> None:
            action = {"type": "call_tool", "tool_name": "get_training_status", "arguments": arguments}
            stepped = http.post("/step", json={"action": action}).json()["observation"]["error"]["message"]
            params = {"name": "get_training_status", "arguments": arguments}
            socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}))
            told = str(json.loads(socket.recv(60.0)))
            for text in (stepped, told):
                assert "unexpected" in text.lower(), (arguments, text)
                assert _plain(text.replace("Unexpected keyword argument", "")), text

        law(check)


def test_a_frame_with_further_keys_is_answered(socket: ClientConnection, law: Law) -> None:
    def check(more: dict[str, Any]) -> None:
        for kind in ("reset", "step", "state", "mcp"):
            socket.send(json.dumps({"data": {}, **more, "type": kind}))
            assert _plain(str(json.loads(socket.recv(60.0))))

    law(check)
