"""JSON that the application could not handle: it is refused with a message, and the episode goes on."""

import json
import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from ml_trainer_env.server.security.json_rules import MAX_DEPTH, JsonError, check_json, check_json_rpc, rpc_error


def nested(depth: int, inner: str = "1") -> str:
    return "[" * depth + inner + "]" * depth


BAD = {
    "nothing": "",
    "half an object": '{"type": "state"',
    "not JSON": "state",
    "an array": "[]",
    "a number": "1",
    "null": "null",
    "a text": '"state"',
    "deeper than it may be": f'{{"type": {nested(MAX_DEPTH)}}}',
    "deeper than Python reads": nested(100_000),
    "objects deeper than Python reads": '{"a":' * 100_000,
    "half a surrogate pair": '{"type": "\\ud800"}',
    "half a surrogate pair as a name": '{"\\uDFFF": 1}',
    "half a surrogate pair the wrong way round": '{"type": "\\udc00\\ud800"}',
    "endless digits": f'{{"type": {"9" * 5_000}}}',
    "endless negative digits": f'{{"type": -{"9" * 5_000}}}',
    "a byte order mark": "\ufeff{}",
}


class TestRules:
    """The rules, as functions of a text."""

    @pytest.mark.parametrize(
        "text", ["{}", "[]", "0", '"\\ud83d\\ude00"', '"\N{GRINNING FACE}\\u0000"', nested(MAX_DEPTH)]
    )
    def test_json_is_taken(self, text: str) -> None:
        assert check_json(text) == check_json(text.encode()) == json.loads(text)

    def test_brackets_in_a_text_are_not_depth(self) -> None:
        assert check_json(json.dumps({"a": "[" * 10_000})) == {"a": "[" * 10_000}
        assert check_json(json.dumps([[]] * 10_000)) == [[]] * 10_000

    @pytest.mark.parametrize("wide", [0, 1, 1_000])
    def test_depth_is_counted_wherever_it_is(self, wide: int) -> None:
        shallow = ["x", {}, 1] * wide

        assert check_json(json.dumps([*shallow, json.loads(nested(MAX_DEPTH - 1))]))
        with pytest.raises(JsonError, match=f"nested more than {MAX_DEPTH} deep"):
            check_json(json.dumps([*shallow, {"a": json.loads(nested(MAX_DEPTH - 1))}]))

    def test_a_number_that_is_none_is_taken_where_it_may_be(self) -> None:
        assert math.isnan(check_json("NaN"))
        for text in ("NaN", '{"a": [-Infinity]}', "Infinity"):
            with pytest.raises(JsonError, match="it has no"):
                check_json(text, allow_nan=False)

    def test_bytes_that_are_not_utf_8_are_refused(self) -> None:
        with pytest.raises(JsonError, match="UTF-8"):
            check_json("{}".encode("utf-16"))

    @pytest.mark.parametrize(
        ("text", "request_id", "code"),
        [
            ('{"id": 7, "method": "\\ud800"}', 7, -32700),
            ('{"id": "seven", "params": {"session_id": []}}', "seven", -32602),
            (f'{{"id": 7, "params": {nested(MAX_DEPTH)}}}', 7, -32700),
            ('{"id": "\\ud800"}', None, -32700),
            ('{"id": [], "params": {"session_id": {}}}', None, -32602),
            ('{"id": 7', None, -32700),
            ("[7]", None, -32700),
        ],
    )
    def test_an_error_names_the_request_it_is_about_where_that_can_be_read(
        self, text: str, request_id: Any, code: int
    ) -> None:
        with pytest.raises(JsonError) as refusal:
            check_json_rpc(text)

        told = rpc_error(refusal.value)
        assert (told["id"], told["error"]["code"]) == (request_id, code)
        json.dumps(told).encode()


class Episode:
    """An episode on a socket of its own."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.ask({"type": "reset", "data": {"episode_id": "kept"}})

    def ask(self, message: Any) -> Any:
        """The answer to a message, which need not be one."""
        self._socket.send(message if isinstance(message, str | bytes) else json.dumps(message))
        return json.loads(self._socket.recv(60.0))

    @property
    def state(self) -> dict[str, Any]:
        """All that a refusal must not change."""
        answer = self.ask({"type": "state"})
        assert answer["type"] == "state"
        return {**answer["data"], "step_count": None}


@pytest.fixture
def episode(live_server: str) -> Iterator[Episode]:
    with connect(live_server.replace("http", "ws") + "/ws", proxy=None) as socket:
        yield Episode(socket)


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_bad_message_is_answered_and_the_episode_goes_on(episode: Episode, text: str) -> None:
    before = episode.state

    answer = episode.ask(text)

    assert answer["type"] == "error"
    assert answer["data"]["code"] == "INVALID_JSON"
    assert len(answer["data"]["message"]) < 200
    assert episode.state == before
    assert before["episode_id"] == "kept"


@pytest.mark.parametrize("data", [b"", b'{"type": "state"}', b"\xff\xfe", "{}".encode("utf-16")])
def test_a_message_of_bytes_is_answered_and_the_episode_goes_on(episode: Episode, data: bytes) -> None:
    before = episode.state

    assert "expected a message of text" in episode.ask(data)["data"]["message"]
    assert episode.state == before


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", ["value", "argument", "frame"])
def test_a_number_that_is_none_reaches_whom_it_concerns(episode: Episode, number: float, place: str) -> None:
    before = episode.state
    call = {"type": "call_tool", "tool_name": "adjust_learning_rate", "arguments": {"new_lr": number}}
    messages = {
        "value": {"type": "step", "data": call},
        "argument": {"type": "step", "data": {**call, "arguments": number}},
        "frame": {"type": number},
    }

    answer = episode.ask(messages[place])

    if place == "value":
        assert "new_lr must be a number" in answer["data"]["observation"]["error"]["message"]
    else:
        assert answer["type"] == "error"
    assert episode.state == before


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_bad_message_to_mcp_is_answered_by_the_rules_of_json_rpc(
    live_server: str, http: httpx.Client, text: str
) -> None:
    posted = http.post("/mcp", content=text.encode())

    assert posted.status_code == 200
    assert posted.json()["error"]["code"] == -32700
    with connect(live_server.replace("http", "ws") + "/mcp", proxy=None) as socket:
        socket.send(text)
        assert json.loads(socket.recv(60.0)) == posted.json()
        socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))
        assert len(json.loads(socket.recv(60.0))["result"]["tools"]) == 9


EVENTS = {"Accept": "application/json, text/event-stream"}
NO_OBJECTS = ["{}", '{"num_epochs": 1}', 1, 0.5, True, [], [{}], ""]


def tool_call(**params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


@pytest.mark.parametrize("value", NO_OBJECTS, ids=repr)
@pytest.mark.parametrize(
    ("request_of", "told"),
    [
        (lambda value: tool_call(name="run_epochs", arguments=value), "arguments must be an object, got "),
        (lambda value: tool_call() | {"params": value}, "params must be an object, got "),
        (lambda value: tool_call(name=[value], arguments={}), "name must be the name of a tool, got an array"),
        (lambda value: tool_call(name="run_epochs", session_id=[value]), "session_id must be a text, got an array"),
    ],
    ids=["arguments", "params", "name", "session_id"],
)
def test_parameters_of_the_wrong_type_are_refused_in_words_on_every_way_in(
    live_server: str, http: httpx.Client, episode: Episode, request_of: Any, told: str, value: Any
) -> None:
    request = request_of(value)
    opened = http.post("/mcp", headers=EVENTS, json=INITIALIZE)
    mcp_session = {**EVENTS, "mcp-session-id": opened.headers["mcp-session-id"]}

    with connect(live_server.replace("http", "ws") + "/mcp", proxy=None) as socket:
        socket.send(json.dumps(request))
        answers = [
            http.post("/mcp", json=request).json(),
            http.post("/mcp", json=request, headers=mcp_session).json(),
            json.loads(socket.recv(60.0)),
            episode.ask({"type": "mcp", "data": request})["data"],
        ]

    assert answers == [answers[0]] * 4
    assert (answers[0]["id"], answers[0]["error"]["code"]) == (1, -32602)
    assert answers[0]["error"]["message"].startswith(told)
    http.delete("/mcp", headers=mcp_session)


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a test", "version": "1"}},
}


def test_arguments_that_are_null_count_as_left_out(http: httpx.Client) -> None:
    answer = http.post("/mcp", json=tool_call(name="get_training_status", arguments=None)).json()

    assert "call reset first" in str(answer)
    assert answer["error"]["code"] != -32602


@pytest.mark.parametrize("value", NO_OBJECTS, ids=repr)
def test_a_step_whose_arguments_are_no_object_says_so_over_http_and_on_the_socket(
    http: httpx.Client, episode: Episode, value: Any
) -> None:
    action = {"type": "call_tool", "tool_name": "run_epochs", "arguments": value}
    before = episode.state

    answer = episode.ask({"type": "step", "data": action})
    refused = http.post("/step", json={"action": action})

    assert (answer["type"], answer["data"]["code"]) == ("error", "VALIDATION_ERROR")
    assert answer["data"]["message"].startswith("data.arguments must be an object, got ")
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith("action.arguments must be an object, got ")
    assert episode.state == before


@pytest.mark.parametrize("path", ["/reset", "/step", "/ml_trainer_env/task", "/no/such/path"])
@pytest.mark.parametrize(
    "text",
    [
        '{"seed": ',
        '{"seed": NaN}',
        '{"seed": Infinity}',
        '{"task_id": "\\ud800"}',
        nested(100_000),
        f'{{"seed": {"9" * 5_000}}}',
        f'{{"action": {nested(MAX_DEPTH)}}}',
    ],
    ids=lambda text: text[:20],
)
def test_a_bad_body_is_refused_in_words(http: httpx.Client, path: str, text: str) -> None:
    response = http.post(path, content=text.encode(), headers={"Content-Type": "application/json; charset=utf-8"})

    assert response.status_code == 422
    assert "invalid JSON" in response.json()["detail"]


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/octet-stream", "application/x-www-form-urlencoded"]
)
@pytest.mark.parametrize("path", ["/reset", "/step", "/ml_trainer_env/task"])
def test_a_body_that_is_not_said_to_be_json_is_refused(http: httpx.Client, path: str, content_type: str) -> None:
    for body in (b"\xff\xfe", b"{", b"{}"):
        response = http.post(path, content=body, headers={"Content-Type": content_type})

        assert response.status_code == 422
        assert response.json()["detail"]


@pytest.mark.parametrize(
    "action", [5, [], "run_epochs", None, {"type": []}, {"type": {}}, {"type": 5}, {"type": None}, {"type": "made_up"}]
)
def test_an_action_that_is_none_is_refused(http: httpx.Client, action: Any) -> None:
    assert http.post("/step", json={"action": action}).status_code == 422
