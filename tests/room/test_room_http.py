"""The observer's surface of a real server: what it tells, when, and to whom."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.exceptions import ToolError
from served_here import served_here
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from ml_trainer_env import MLTrainerEnv
from ml_trainer_env.client import ResetRefusedError, ToolCallError
from ml_trainer_env.fleet_client import FleetEnv
from ml_trainer_env.server.room.api import api_routes
from ml_trainer_env.server.room.observed import HIDDEN
from ml_trainer_env.server.room.pages import page_routes

TOKEN, WATCHER = "correct-horse-battery", "observing-horse-battery"
PLAYER = {"Authorization": f"Bearer {TOKEN}"}
OBSERVER = {"Authorization": f"Bearer {WATCHER}"}
HOSTILE = "<script>alert(1)</script>"
LIMIT_S = 120.0


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served_here(tmp_path_factory.mktemp("state"), TOKEN=TOKEN, OBSERVER_TOKEN=WATCHER) as (address, _):
        yield f"http://{address}"


@pytest.fixture(scope="module")
def watcher(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers=OBSERVER, timeout=LIMIT_S, trust_env=False) as client:
        yield client


@contextmanager
def played(url: str, name: str, **options: Any) -> Iterator[MLTrainerEnv]:
    with MLTrainerEnv(base_url=url, headers=PLAYER) as env:
        env.reset(task_id="easy_mnist", episode_id=name, **options)
        yield env


def document(watcher: httpx.Client, name: str) -> Any:
    return watcher.get("/room/api/episode", params={"name": name}).raise_for_status().json()


def names_in(value: Any) -> set[str]:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (set(value) if isinstance(value, dict) else set()).union(*map(names_in, parts))


def events(watcher: httpx.Client, path: str, **parameters: Any) -> Iterator[tuple[str, Any]]:
    """The events of a stream, until the server closes it or the caller goes."""
    with watcher.stream("GET", path, params=parameters or None) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        kind = ""
        for line in stream.iter_lines():
            field, _, text = line.partition(": ")
            if field == "event":
                kind = text
            elif field == "data":
                yield kind, json.loads(text)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/room", 200),
        ("GET", "/room/compare", 200),
        ("GET", "/room/static/watch.js", 200),
        ("GET", "/room/api/live", 200),
        ("GET", "/room/api/episodes", 200),
        ("GET", "/room/api/episode?name=nobody", 404),
        ("GET", "/room/static/..%2Fpages.py", 404),
        ("POST", "/room/api/live", 403),
        ("GET", "/roommate", 403),
        ("GET", "/room/../state", 403),
        ("GET", "/state", 403),
        ("GET", "/metrics", 403),
        ("GET", "/openapi.json", 403),
        ("GET", "/fleet/state", 403),
        ("POST", "/reset", 403),
        ("POST", "/step", 403),
        ("POST", "/mcp", 403),
        ("DELETE", "/mcp", 403),
    ],
)
def test_an_observers_token_reads_the_room_and_nothing_else(url: str, method: str, path: str, status: int) -> None:
    with httpx.Client(trust_env=False, headers=OBSERVER) as client:
        raw = httpx.URL(url, raw_path=path.encode())
        assert client.request(method, raw).status_code == status


@pytest.mark.parametrize("path", ["/ws", "/mcp", "/fleet/ws", "/room/ws"])
def test_an_observers_token_opens_no_socket(url: str, path: str) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        connect(url.replace("http", "ws") + path, additional_headers=OBSERVER, proxy=None)


def test_an_observer_signs_in_with_a_cookie_that_does_not_hold_the_token(url: str) -> None:
    with httpx.Client(base_url=url, trust_env=False) as browser:
        form = browser.get("/room", headers={"Accept": "text/html"})
        entered = browser.post("/login", data={"token": WATCHER})
        assert (form.status_code, entered.status_code, entered.headers["location"]) == (401, 303, "/web")
        assert WATCHER not in entered.headers["set-cookie"]
        assert browser.get("/room").status_code == 200
        assert browser.get("/state").status_code == 403
        assert browser.get("/room", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 401


def test_the_first_page_leads_to_the_room(url: str) -> None:
    for path in ("/", "/web", "/web/", "/room"):
        for presented in (PLAYER, OBSERVER):
            answer = httpx.get(f"{url}{path}", headers=presented, trust_env=False)
            assert (answer.status_code, "Live</h1>" in answer.text) == (200, True), path


def test_nobody_reads_the_room_without_a_token(url: str) -> None:
    for path in ("/room", "/room/api/live", "/room/api/episodes", "/room/static/room.css"):
        assert httpx.get(f"{url}{path}", trust_env=False).status_code == 401


def test_an_agent_has_the_name_that_it_gave_and_a_resumed_episode_keeps_it(url: str, watcher: httpx.Client) -> None:
    with played(url, "named", agent=HOSTILE) as env:
        env.call_tool("get_training_status")
    with MLTrainerEnv(base_url=url, headers=PLAYER) as env:
        env.reset(episode_id="named", resume=True, agent="somebody else")
        (row,) = (row for row in watcher.get("/room/api/live").json()["episodes"] if row["name"] == "named")
        assert row["agent"] == document(watcher, "named")["episode"]["agent"] == HOSTILE
        for agent in ("", " blank", "a\nb", "x" * 65, 7):
            with pytest.raises(ResetRefusedError, match="agent must be a name of 1 to 64"):
                env.reset(agent=agent)

    assert "<script>alert" not in watcher.get("/room").text
    assert "&lt;script&gt;alert" in watcher.get("/room").text


def test_epochs_are_pushed_while_the_call_that_trains_them_still_runs(url: str, watcher: httpx.Client) -> None:
    with played(url, "pushed") as env:
        returned: list[float] = []

        def train() -> None:
            env.call_tool("run_epochs", num_epochs=20)
            returned.append(time.monotonic())

        trainer = threading.Thread(target=train)
        seen: list[tuple[float, int, list[float]]] = []
        stream = events(watcher, "/room/api/episode/events", name="pushed")
        assert next(stream)[0] == "live"
        trainer.start()
        for kind, told in stream:
            if kind == "rows":
                seen.append((time.monotonic(), told["first"], told["columns"]["val_accuracy"]))
            if kind == "calls" and told[-1]["units"] == 20:
                break
        trainer.join()
        stream.close()

    assert any(at < returned[0] for at, _, _ in seen)
    assert [first for _, first, _ in seen] == [sum(len(rows) for _, _, rows in seen[:n]) for n in range(len(seen))]
    pushed = [value for _, _, rows in seen for value in rows]
    assert pushed == document(watcher, "pushed")["rows"]["val_accuracy"]
    assert len(pushed) == 20


def test_nothing_hidden_is_told_before_the_end_and_everything_after_it(url: str, watcher: httpx.Client) -> None:
    with played(url, "secretive", rubric="v1") as env:
        env.call_tool("run_epochs", num_epochs=2)
        live = next(row for row in watcher.get("/room/api/live").json()["episodes"] if row["name"] == "secretive")
        listed = next(row for row in watcher.get("/room/api/episodes").json()["episodes"] if row["name"] == "secretive")
        before = document(watcher, "secretive")
        exported = watcher.get("/room/api/episode/calls.jsonl", params={"name": "secretive"}).text
        told = env.call_tool("submit_model")
        after = document(watcher, "secretive")

    for seen in (live, listed, before, *map(json.loads, exported.splitlines())):
        assert not names_in(seen) & HIDDEN
    assert str(told["test_accuracy"]) not in json.dumps([live, listed, before])
    assert after["calls"][-1]["reply"] == told
    assert after["episode"]["score"] == told["score"]
    assert after["episode"]["state"] == "finished"


READABLE = {
    "/": "",
    "/web": "",
    "/room": "?order=best",
    "/room/play": "",
    "/room/episode": "?name={name}",
    "/room/compare": "?name={name}",
    "/room/results": "",
    "/room/results/{{kind}}/{{name}}": "",
    "/room/results/{{kind}}/{{name}}/report": "",
    "/room/api/live": "",
    "/room/api/live/events": "",
    "/room/api/episodes": "?order=best",
    "/room/api/episode": "?name={name}",
    "/room/api/episode/events": "?name={name}",
    "/room/api/episode/script": "?name={name}",
    "/room/api/episode/calls.jsonl": "?name={name}",
    "/room/api/episode/figures.csv": "?name={name}",
    "/room/api/run": "?kind=evals&name={name}",
}
"""All that an observer can ask for, with its query."""

OTHERS = {"/room/{rest:path}", "/room/api/{rest:path}", "/room/static/{file}", "/login"}
"""Paths that tell nothing of episodes."""


def everything_about(watcher: httpx.Client, name: str) -> dict[str, str]:
    """All that an observer gets to read while an episode is open, by the path."""
    found = {}
    for path, query in READABLE.items():
        address = (path + query).format(name=name)
        if path.endswith("/events"):
            told = []
            for kind, value in events(watcher, address):
                told.append(value)
                if "name=" not in query or kind == "calls":
                    break
            found[path] = json.dumps(told)
        else:
            found[path] = watcher.get(address).text
    return found


def test_no_route_and_no_stream_tells_an_observer_what_is_hidden(url: str, watcher: httpx.Client) -> None:
    with played(url, "guarded") as env, FleetEnv(base_url=f"{url}/fleet", headers=PLAYER) as fleet:
        env.call_tool("run_epochs", num_epochs=1)
        fleet.reset(task_id="fleet_straggler", episode_id="guarded-fleet")
        fleet.call_tool("run_steps", num_steps=2)
        before = [everything_about(watcher, name) for name in ("guarded", "guarded-fleet")]
        told = env.call_tool("submit_model")

    for texts in before:
        for path, text in texts.items():
            is_json = path.startswith("/room/api") and not path.endswith(("script", "jsonl", "csv"))
            for value in [json.loads(text)] if is_json else []:
                assert not names_in([one for one in listed(value) if one.get("state") != "finished"]) & HIDDEN, path
                assert not [one["truth"] for one in listed(value) if one.get("truth")], path
            for name in ("score", "test_accuracy"):
                assert str(told[name]) not in text, (path, name)
    assert "guarded-fleet" in before[1]["/room/api/live/events"]
    assert "rows" in json.loads(before[1]["/room/api/episode"])
    assert str(told["test_accuracy"]) in everything_about(watcher, "guarded")["/room/api/episode/calls.jsonl"]


def listed(value: Any) -> list[dict[str, Any]]:
    """The objects of a document: those of its list of episodes, those of a stream, or itself."""
    parts = value if isinstance(value, list) else [value]
    found = [one for part in parts for one in (part if isinstance(part, list) else [part])]
    return [row for one in found for row in one.get("episodes", [one])]


def test_what_an_observer_may_read_is_all_that_the_room_has() -> None:
    nothing: Any = None
    routers = [api_routes(nothing, nothing, nothing, Path()), page_routes(nothing, (), Path())]
    paths = {route.path for router in routers for route in router.routes if isinstance(route, APIRoute)}

    assert paths == {path.format() for path in READABLE} | OTHERS


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null"])
def test_a_page_of_another_origin_changes_nothing_with_a_players_cookie(url: str, origin: str) -> None:
    with httpx.Client(base_url=url, trust_env=False) as browser:
        browser.post("/login", data={"token": TOKEN})
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        with connect(url.replace("http", "ws") + "/ws", additional_headers={"Cookie": cookie}, proxy=None):
            pass  # the cookie is good
        before = browser.get("/room/api/episodes").json()["episodes"]
        for path in ("/reset", "/step", "/mcp", "/fleet/reset", "/fleet/step", "/fleet/mcp", "/login"):
            assert browser.post(path, json={}, headers={"Origin": origin}).status_code == 403, path
        for path in ("/ws", "/mcp", "/fleet/ws"):
            with pytest.raises(InvalidStatus, match="403"):
                connect(
                    url.replace("http", "ws") + path,
                    origin=Origin(origin),
                    additional_headers={"Cookie": cookie},
                    proxy=None,
                )
        assert browser.get("/room/api/episodes").json()["episodes"] == before


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/room?state=odd", 422, "state must be finished or unfinished"),
        ("/room?order=odd", 422, "order: Input should be"),
        ("/room/episode", 422, "name: Field required"),
        ("/room/nowhere", 404, "the room has no page /room/nowhere"),
        ("/room/%3Cscript%3Ealert", 404, "the room has no page /room/&lt;script&gt;alert"),
    ],
)
def test_what_is_wrong_with_the_address_of_a_page_is_told_by_a_page(
    watcher: httpx.Client, path: str, status: int, told: str
) -> None:
    answer = watcher.get(path)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert told in answer.text
    assert 'href="/room">All episodes</a>' in answer.text


def test_what_is_wrong_with_a_request_of_the_surface_is_told_as_json(watcher: httpx.Client) -> None:
    answer = watcher.get("/room/api/nowhere")

    assert (answer.status_code, answer.json()) == (404, {"detail": "the room has no /room/api/nowhere"})


def test_replies_are_the_same_with_watchers_and_without(url: str) -> None:
    def play(name: str) -> list[Any]:
        with played(url, name, seed=5) as env:
            replies = [
                env.call_tool("configure_training", optimizer="adam", learning_rate=0.002),
                env.call_tool("run_epochs", num_epochs=3),
                env.call_tool("submit_model"),
            ]
        timeless = json.dumps(replies, default=str)
        return [_without_times(reply) for reply in json.loads(timeless)]

    alone = play("unwatched")
    stopping = threading.Event()

    def watch(path: str, **parameters: Any) -> None:
        with httpx.Client(base_url=url, headers=OBSERVER, timeout=LIMIT_S, trust_env=False) as client:
            while not stopping.is_set():
                for _ in events(client, path, **parameters):
                    client_seen.append(path)
                    if stopping.is_set():
                        return

    client_seen: list[str] = []
    watchers = [
        threading.Thread(target=watch, args=("/room/api/episode/events",), kwargs={"name": "watched"}),
        threading.Thread(target=watch, args=("/room/api/live/events",)),
    ]
    for thread in watchers:
        thread.start()
    watched = play("watched")
    stopping.set()
    with played(url, "last"):  # one more event, so that the watchers see that they should stop
        for thread in watchers:
            thread.join(LIMIT_S)

    assert watched == alone
    assert {"/room/api/live/events"} <= set(client_seen)


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_times(part) for name, part in value.items() if name != "epoch_time_s"}
    return [_without_times(part) for part in value] if isinstance(value, list) else value


def test_the_copied_script_repeats_the_episode_to_the_bit(
    url: str, watcher: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ML_TRAINER_TOKEN", PLAYER["Authorization"].removeprefix("Bearer "))
    with played(url, "copied", seed=9) as env:
        env.call_tool("configure_training", optimizer="adamw", learning_rate=0.003, augmentation=False)
        env.call_tool("run_epochs", num_epochs=1)
        expected = env.call_tool("run_epochs", num_epochs=1)["weights_hash"]
    script = watcher.get("/room/api/episode/script", params={"name": "copied"}).text
    script = script.replace("http://localhost:8000", url)

    exec(script.replace("    env.reset(", "    made.append(env)\n    env.reset("), {"made": (made := [])})

    repeated = document(watcher, made[0].episode_id)
    assert repeated["calls"][-1]["reply"]["weights_hash"] == expected


def test_a_fork_and_its_parent_lead_to_each_other(url: str, watcher: httpx.Client) -> None:
    with played(url, "parent & co", agent="parent") as env:
        env.call_tool("run_epochs", num_epochs=2)
        env.reset(fork_from="parent & co@1", episode_id="child", agent="child")

    parent, child = (watcher.get("/room/episode", params={"name": name}).text for name in ("parent & co", "child"))
    assert 'href="/room/episode?name=child"' in parent
    assert 'href="/room/episode?name=parent%20%26%20co"' in child
    assert document(watcher, "child")["calls"][0]["inherited"] is True
    assert document(watcher, "child")["episode"]["agent"] == "child"


def test_a_reason_is_beside_its_call_and_changes_no_reply(url: str, watcher: httpx.Client) -> None:
    replies = []
    for name, reason in (("explained", "why " * 200), ("silent", "")):
        with played(url, name) as env:
            env.explain(reason)
            replies.append(env.call_tool("configure_training", learning_rate=0.5))
            with pytest.raises(ToolCallError):
                env.call_tool("configure_training", learning_rate=-1)

    reasons = [call["reason"] for call in document(watcher, "explained")["calls"]]
    assert reasons == ["why " * 125 + "... (800 characters)", None]
    assert [call["reason"] for call in document(watcher, "silent")["calls"]] == [None, None]
    assert replies[0] == replies[1]


@pytest.mark.slow
def test_a_server_with_watchers_stops_without_cutting_them_off(start_server: Any) -> None:
    with start_server(ML_TRAINER_WORKERS="1") as server:
        with httpx.Client(base_url=server.url, timeout=LIMIT_S, trust_env=False) as client:
            stream = events(client, "/room/api/live/events")
            assert next(stream)[0] == "live"
            stopper = threading.Thread(target=server.stop)
            stopper.start()
            assert list(stream) == []  # it ends as a whole response does
            stopper.join()
        assert "exceeded" not in server.log


def test_figures_are_exported_as_a_table(url: str, watcher: httpx.Client) -> None:
    with played(url, "table") as env:
        env.call_tool("run_epochs", num_epochs=2)
    answer = watcher.get("/room/api/episode/figures.csv", params={"name": "table"})
    lines = answer.text.splitlines()

    assert answer.headers["content-disposition"].endswith("; filename*=UTF-8''table-figures.csv")
    assert lines[0].startswith("epoch,val_accuracy,train_accuracy,val_loss,train_loss,learning_rate")
    assert [line.partition(",")[0] for line in lines[1:]] == ["1", "2"]


def test_a_wrong_search_says_what_is_right(watcher: httpx.Client) -> None:
    wrong = [("game=chess", "tuning, fleet"), ("state=odd", "finished or unfinished")]
    wrong += [(f"after={place}", "next") for place in ("x", "nan_1", "inf_1", "1_-1", "1_9223372036854775808")]
    for query, told in wrong:
        answer = watcher.get(f"/room/api/episodes?{query}")
        assert (answer.status_code, told in answer.json()["detail"]) == (422, True)


def test_pages_allow_nothing_inline_and_nothing_from_elsewhere(watcher: httpx.Client) -> None:
    for path in ("/room", "/room/compare", "/room/episode?name=nobody"):
        page = watcher.get(path)
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert "style=" not in page.text
        assert "<script>" not in page.text


def test_a_reason_comes_over_mcp_beside_the_arguments(url: str, watcher: httpx.Client) -> None:
    async def play() -> None:
        async with Client(StreamableHttpTransport(f"{url}/mcp", headers=PLAYER)) as client:
            await client.call_tool("start_task", {"task_id": "easy_mnist", "episode_id": "by mcp", "agent": "over mcp"})
            await client.call_tool("configure_training", {"learning_rate": 0.5}, meta={"reason": HOSTILE})
            with pytest.raises(ToolError):
                await client.call_tool("configure_training", {"learning_rate": -1}, meta={"reason": "too low"})
            with pytest.raises(ToolError):
                await client.call_tool("no_such_tool", {}, meta={"reason": ["not", "a", "text"]})
            await client.call_tool("get_training_status", {})

    asyncio.run(play())

    found = document(watcher, "by mcp")
    assert found["episode"]["agent"] == "over mcp"
    assert [call["reason"] for call in found["calls"]] == [HOSTILE, "too low", None, None]
