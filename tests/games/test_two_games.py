"""Two games on one server: the tuning game at the root, and the toy game under /fleet."""

import http.client
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from openenv.cli._validation import validate_running_environment
from openenv.core.generic_client import GenericEnvClient
from served_here import served_here
from toy_server import Served, toy_games, toy_here
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from ml_trainer_env.server.commands import journal
from ml_trainer_env.server.episodes.game import Game
from ml_trainer_env.server.executors.in_process import InProcessExecutor

FLEET = "/fleet"
GAMES = {"": "ml_trainer_env", FLEET: "toy"}
TOKEN = "correct-horse-battery"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
RPC = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
EVENTS = {"Accept": "application/json, text/event-stream"}
CLIENT = {"name": "a test", "version": "1"}
INITIALIZE = {**RPC, "method": "initialize"} | {
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": CLIENT}
}

BOTH = pytest.mark.parametrize(("prefix", "name"), GAMES.items(), ids=GAMES.values())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with toy_here(tmp_path_factory.mktemp("two"), FLEET) as served:
        yield served


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url(), timeout=60.0, trust_env=False) as one:
        yield one


@pytest.fixture
def games() -> Iterator[dict[str, Game]]:
    with toy_games(FLEET) as both:
        yield both


def guarded(
    folder: Path, games: dict[str, Game], **variables: str
) -> AbstractContextManager[tuple[str, InProcessExecutor]]:
    """A server with a token in a thread of this process. Gives its address without the scheme, and its executor."""
    return served_here(folder, games, TOKEN=TOKEN, **variables)


# Every way in.


@BOTH
def test_each_path_tells_of_its_own_game(client: httpx.Client, prefix: str, name: str) -> None:
    def get(path: str) -> Any:
        answer = client.get(prefix + path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert get("/health") == {"status": "healthy"}
    assert get("/ready") == {"status": "ready"}
    assert get("/metadata")["name"] == name
    assert get("/list_environments") == [name]
    assert ("weights_hash" in get("/state")) is (name == "ml_trainer_env")
    assert ("weights_hash" in get("/schema")["state"]["properties"]) is (name == "ml_trainer_env")
    assert get("/openapi.json").get("servers", []) == ([{"url": prefix}] if prefix else [])
    assert f"'{prefix}/openapi.json'" in client.get(f"{prefix}/docs").text


@BOTH
def test_the_task_api_lists_the_tasks_of_the_game(client: httpx.Client, prefix: str, name: str) -> None:
    split, first = ("named", "easy_mnist") if name == "ml_trainer_env" else ("train", "counter")

    def post(path: str, **body: Any) -> Any:
        return client.post(f"{prefix}/{name}/{path}", json={"split": split, **body}).json()

    assert split in [row["name"] for row in client.get(f"{prefix}/{name}/splits").json()]
    assert post("num_tasks")["num_tasks"] == len(post("tasks")["tasks"])
    assert post("task", index=0)["task"]["id"] == first
    assert [task["id"] for task in post("task_range", start=0, stop=1)["tasks"]] == [first]
    (other,) = set(GAMES.values()) - {name}
    assert client.get(f"{prefix}/{other}/splits").status_code == 404


@BOTH
def test_an_episode_begins_over_plain_http(client: httpx.Client, prefix: str, name: str) -> None:
    begun = client.post(f"{prefix}/reset", json={"seed": 3}).json()
    stepped = client.post(f"{prefix}/step", json={"action": {"type": "call_tool", "tool_name": "none"}}).json()

    assert begun["observation"]["seed"] == 3
    assert ("task" in begun["observation"]) is (name == "ml_trainer_env")
    assert "none" in stepped["observation"]["error"]["message"]


@BOTH
def test_it_is_played_by_openenvs_client(server: Served, prefix: str, name: str) -> None:
    tool, arguments = ("run_epochs", {"num_epochs": 1}) if name == "ml_trainer_env" else ("count", {"steps": 2})

    with GenericEnvClient(base_url=server.url(prefix)).sync() as env:
        env.reset(seed=1, episode_id=f"openenv-{name}")
        stepped = env.step({"type": "call_tool", "tool_name": tool, "arguments": arguments})
        state = env.state()

    assert stepped.observation["error"] is None
    assert (state["episode_id"], state["step_count"]) == (f"openenv-{name}", 1)


@BOTH
def test_it_is_played_by_a_client_of_mcp(server: Served, prefix: str, name: str) -> None:
    async def play() -> tuple[str, list[str], Any]:
        async with (
            streamable_http_client(server.url(f"{prefix}/mcp")) as (read, write, _),
            ClientSession(read, write) as session,
        ):
            about = (await session.initialize()).serverInfo.name
            tools = [tool.name for tool in (await session.list_tools()).tools]
            await session.call_tool("start_task", {"seed": 2})
            call = ("get_training_status", {}) if name == "ml_trainer_env" else ("count", {"steps": 3})
            return about, tools, (await session.call_tool(*call)).structuredContent

    about, tools, reply = anyio.run(play)

    assert about == name
    assert ("count" in tools, "run_epochs" in tools) == (name == "toy", name == "ml_trainer_env")
    assert reply.get("count") == (8 if name == "toy" else None)


@BOTH
def test_it_is_played_over_json_rpc(client: httpx.Client, server: Served, prefix: str, name: str) -> None:
    first = "configure_training" if name == "ml_trainer_env" else "count"
    with connect(server.url(f"{prefix}/mcp").replace("http", "ws")) as socket:
        socket.send(json.dumps(RPC))
        over_socket = json.loads(socket.recv())

    assert client.post(f"{prefix}/mcp", json=RPC).json()["result"]["tools"][0]["name"] == first
    assert over_socket["result"]["tools"][0]["name"] == first


@pytest.mark.parametrize("prefix", GAMES)
def test_openenvs_validation_of_a_running_server_passes(server: Served, prefix: str) -> None:
    """What `openenv validate --url` does, without the start of that command."""
    summary = validate_running_environment(server.url(prefix), timeout_s=30.0)["summary"]

    assert (summary["passed_count"], summary["total_count"]) == (6, 6)


def test_the_training_room_is_at_the_root_alone(client: httpx.Client) -> None:
    assert "text/html" in client.get("/web/").headers["content-type"]
    for path in ("", "/", "/web", "/web/", "/room", "/room/api/live"):
        assert client.get(FLEET + path).status_code == 404


# Paths and tokens.

ROUTES = [
    ("GET", "/health", None),
    ("GET", "/state", None),
    ("GET", "/docs", None),
    ("GET", "/openapi.json", None),
    ("POST", "/step", {"action": 5}),
    ("POST", "/reset", {"task_id": "none"}),
    ("GET", "/toy/splits", None),
    ("GET", "/mcp", None),
    ("DELETE", "/mcp", None),
    ("POST", "/mcp", RPC),
    ("POST", "/mcp", {**RPC, "params": {"session_id": []}}),
    ("GET", "/no/such/path", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
def test_a_slash_at_the_end_makes_no_difference(client: httpx.Client, method: str, path: str, body: Any) -> None:
    plain, *slashed = (client.request(method, FLEET + path + end, json=body) for end in ("", "/", "//"))

    assert [(one.status_code, one.content) for one in slashed] == [(plain.status_code, plain.content)] * 2


@BOTH
def test_what_clients_send_is_checked_alike(client: httpx.Client, server: Served, prefix: str, name: str) -> None:  # noqa: ARG001
    assert client.post(f"{prefix}/step", json={"action": 5}).json() == {
        "detail": "action must be an object, got a number"
    }
    refused = client.post(f"{prefix}/mcp", json={**RPC, "params": 5}).json()
    assert refused["error"] == {"code": -32602, "message": "params must be an object, got a number"}
    assert client.post(f"{prefix}/reset", content=b"x" * 1_000_001).status_code == 413
    assert client.get(f"{prefix}/state", headers={"Host": "elsewhere.example"}).status_code == 403
    assert client.get(f"{prefix}/health", headers={"Host": "elsewhere.example"}).status_code == 200
    for path in ("/ws", "/mcp"):
        with connect(server.url(prefix + path).replace("http", "ws")) as socket:
            socket.send(json.dumps({**RPC, "params": 5} if path == "/mcp" else {"type": "step", "data": 5}))
            assert "must be an object, got a number" in socket.recv()


CLOSED = ["/metrics", "/metadata", "/state", "/schema", "/docs", "/toy/splits", "/ml_trainer_env/splits", "/mcp", ""]
"""Paths that need the token, under each prefix."""

TRICKS = [
    "//fleet/health",
    "///fleet/health",
    "/fleet//health",
    "/fleet/health/",
    "/fleet/../health",
    "/fleet/../fleet/health",
    "/fleet/%2e%2e/health",
    "/fleet/..%2fhealth",
    "/fleet/./health",
    "/fleet%2f%2fhealth",
    "/fleet%5chealth",
    "/fleet;/health",
    "/fleet/health%00",
    "/fleet/health%3f",
    "/fleet/fleet/health",
    "/fleet/fleet",
    "/fleets/health",
    "/Fleet/health",
    "/fleet/toy/health",
    "/health/fleet/health",
    "/%2ffleet/health",
]
"""Paths that look like an open one. None is."""


def test_who_has_no_token_is_refused_and_no_trick_with_paths_helps(tmp_path: Path, games: dict[str, Game]) -> None:
    with guarded(tmp_path, games) as (address, _):

        def status(path: str, **headers: str) -> int:
            with closing(http.client.HTTPConnection(address)) as connection:  # it sends a path as it is given
                connection.request("GET", path, headers=headers)
                return connection.getresponse().status

        open_paths = ["/health", "/ready", "/fleet/health", "/fleet/ready", "/fleet%2fhealth"]
        assert {path: status(path) for path in open_paths if status(path) != 200} == {}
        closed = [prefix + path for prefix in GAMES for path in CLOSED]
        assert {path: status(path) for path in [*closed, *TRICKS] if status(path) != 401} == {}
        assert status("/fleet/metadata", **BEARER) == status("/fleet/metrics", **BEARER) == 200
        # The first is what `/fleet/health/` is; all others are nothing.
        found = {path for path in TRICKS if status(path, **BEARER) != 404}
        assert found == {"/fleet/health/"}


@BOTH
def test_a_token_opens_each_way_in(tmp_path: Path, games: dict[str, Game], prefix: str, name: str) -> None:
    with guarded(tmp_path, games) as (address, _):
        for path in ("/ws", "/mcp"):
            with pytest.raises(InvalidStatus, match="401"):
                connect(f"ws://{address}{prefix}{path}")
        assert httpx.post(f"http://{address}{prefix}/mcp", json=INITIALIZE, headers=EVENTS).status_code == 401
        assert httpx.post(f"http://{address}{prefix}/mcp", json=RPC).status_code == 401
        assert httpx.post(f"http://{address}{prefix}/reset", json={}).status_code == 401

        with GenericEnvClient(base_url=f"http://{address}{prefix}", headers=BEARER).sync() as env:
            assert env.reset(episode_id="let-in").observation["episode_id"] == "let-in"
        begun = httpx.post(f"http://{address}{prefix}/mcp", json=INITIALIZE, headers=EVENTS | BEARER)
        assert f'"name":"{name}"' in begun.text


# What the games share.


def test_an_episode_of_the_other_game_is_refused_by_the_right_path_and_loses_nothing(server: Served) -> None:
    refusals = [
        ("tuned", FLEET, "the game ml_trainer_env, which this server has at /ws and /mcp; the game here is toy"),
        (
            "counted",
            "",
            "the game toy, which this server has at /fleet/ws and /fleet/mcp; the game here is ml_trainer_env",
        ),
    ]
    with (
        server.session(episode_id="tuned", seed=1) as tuned,
        server.session(FLEET, episode_id="counted", seed=1) as counted,
    ):
        tuned.reply("run_epochs", num_epochs=1)
        counted.reply("count", steps=2)
        for name, path, words in refusals:
            for asked in ({"episode_id": name, "resume": True}, {"fork_from": name}, {"fork_from": f"{name}@1"}):
                refused = httpx.post(server.url(f"{path}/reset"), json=asked)
                assert (refused.status_code, refused.json()["detail"]) == (422, f"episode '{name}' is of {words}")
        for task, (_, path, words) in zip(("easy_mnist", "counter"), refusals, strict=True):
            refused = httpx.post(server.url(f"{path}/reset"), json={"task_id": task})
            assert refused.json()["detail"] == f"task '{task}' is of {words}"

        assert tuned.reply("run_epochs", num_epochs=1)["current_epoch"] == 2  # their sessions still own them
        assert counted.reply("count", steps=1)["count"] == 7

    with server.session(FLEET, episode_id="counted", resume=True) as counted:
        assert counted.begun["last_call"]["reply"]["count"] == 7
    with server.session(FLEET, fork_from="counted@1") as fork:
        assert fork.reply("look")["count"] == 3
    with server.session(episode_id="tuned", resume=True) as tuned:
        assert tuned.begun["last_call"]["reply"]["current_epoch"] == 2


def test_a_task_that_no_game_has_is_refused_by_the_game_that_is_asked(client: httpx.Client) -> None:
    assert "the tasks are easy_mnist" in client.post("/reset", json={"task_id": "none"}).json()["detail"]
    assert "the task is counter" in client.post(f"{FLEET}/reset", json={"task_id": "none"}).json()["detail"]


def test_the_name_of_an_episode_is_taken_in_both_games(server: Served) -> None:
    with server.session(FLEET, episode_id="named") as player:
        player.reply("count", steps=1)

    assert "named" in httpx.post(server.url("/reset"), json={"episode_id": "named"}).json()["detail"]


def test_one_journal_lists_replays_and_exports_the_episodes_of_both(
    server: Served, games: dict[str, Game], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with server.session(episode_id="our-run", seed=5) as player:
        player.reply("run_epochs", num_epochs=1)
    with server.session(FLEET, episode_id="our-count", seed=5) as player:
        player.reply("count", steps=2)
        player.reply("stop")
    for name, value in {"STATE_DIR": str(server.folder), "TORCH_THREADS": "1", "DOWNLOAD": "no"}.items():
        monkeypatch.setenv(f"ML_TRAINER_{name}", value)

    def run(*arguments: str) -> str:
        assert journal.main(arguments, games) == 0
        return capsys.readouterr().out

    listed = {line.split()[0]: line.split()[1] for line in run("list").splitlines()}
    assert (listed["our-run"], listed["our-count"]) == ("easy_mnist", "counter")
    replayed = run("replay", "our-run", "our-count")
    assert "our-run: the same: 1 calls, 1 epochs" in replayed
    assert "our-count: the same: 2 calls, 2 epochs" in replayed
    tuned, counted = map(json.loads, run("export", "our-run", "our-count", "--format", "chat").splitlines())
    assert [tool["function"]["name"] for tool in counted["tools"]] == ["count", "mark", "look", "stop"]
    assert counted["messages"][0]["content"] == "You count."
    assert (counted["score"], tuned["task_id"]) == (2.0, "easy_mnist")
    assert "run_epochs" in [tool["function"]["name"] for tool in tuned["tools"]]


def test_the_metrics_know_the_tools_of_both(server: Served) -> None:
    with server.session() as player:
        player.reply("list_checkpoints")
    with server.session(FLEET) as player:
        player.reply("look")

    lines = [line for line in httpx.get(server.url("/metrics")).text.splitlines() if "call_seconds_count" in line]

    assert [tool for tool in ("list_checkpoints", "look") if not any(f'tool="{tool}"' in line for line in lines)] == []
    assert "ml_trainer_mcp_sessions" in httpx.get(server.url(f"{FLEET}/metrics")).text


# Beginning and end.


@pytest.mark.slow
def test_it_stops_cleanly_while_both_are_played_and_counts_the_sessions_of_each(
    tmp_path: Path, games: dict[str, Game], caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as sockets, guarded(tmp_path, games, MAX_SESSIONS="2") as (address, executor):
        for prefix in GAMES:
            socket = sockets.enter_context(connect(f"ws://{address}{prefix}/ws", additional_headers=BEARER))
            socket.send(json.dumps({"type": "reset", "data": {}}))
            assert json.loads(socket.recv())["type"] == "observation"
            create = {**RPC, "method": "openenv/session/create"}
            first, second = (httpx.post(f"http://{address}{prefix}/mcp", json=create, headers=BEARER) for _ in "12")
            assert "result" in first.json()
            assert "at capacity" in second.text
            headers = EVENTS | BEARER
            begun = [httpx.post(f"http://{address}{prefix}/mcp", json=INITIALIZE, headers=headers) for _ in "123"]
            assert [one.status_code for one in begun] == [200, 200, 503]
        metrics = httpx.get(f"http://{address}/metrics", headers=BEARER).text
        assert "ml_trainer_mcp_sessions 4.0" in metrics
        assert "ml_trainer_open_episodes 2.0" in metrics
        assert not executor._queue.closed.is_set()

    assert executor._queue.closed.is_set()
    assert [record.getMessage() for record in caplog.records if record.levelname in {"ERROR", "CRITICAL"}] == []
