"""A game of its own, played on every surface: nothing but its file knows it."""

import json
from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from toy_server import TOY_FOLDER, Served, Server, toy_here

from ml_trainer_env.server.commands import journal


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with toy_here(tmp_path_factory.mktemp("here"), CACHE="yes") as here:
        yield here


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    served = Server(tmp_path_factory.mktemp("toy"))
    served.start()
    yield served
    served.kill()


def test_it_is_played_over_the_websocket(served: Served) -> None:
    with served.session(seed=3) as player:
        assert player.begun["seed"] == 3
        assert player.reply("count", steps="4")["count"] == 11
        assert "must be a whole number" in player.call("count", steps=10)["error"]["message"]
        assert player.call("count")["error"]["message"] == "'steps': Missing required argument"
        assert player.reply("stop") | {"message": ""} == {
            "count": 11, "steps": 4, "reward": 0.0, "done": True, "message": "", "score": 4.0,
        }  # fmt: skip


def test_it_is_played_over_json_rpc(served: Served) -> None:
    with served.session(seed=1) as player:
        tools = player.rpc("tools/list")["result"]["tools"]
        assert [tool["name"] for tool in tools] == ["count", "mark", "look", "stop"]
        assert player.rpc("tools/call", name="count", arguments={"steps": 2})["result"]["data"]["count"] == 5


def test_it_is_played_over_mcp(served: Served) -> None:
    async def play() -> tuple[list[str], Any]:
        async with (
            streamable_http_client(f"http://127.0.0.1:{served.port}/mcp") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = [tool.name for tool in (await session.list_tools()).tools]
            await session.call_tool("start_task", {"seed": 2})
            return tools, (await session.call_tool("count", {"steps": 3})).structuredContent

    tools, reply = anyio.run(play)

    assert tools == ["list_tasks", "start_task", "count", "mark", "look", "stop"]
    assert reply["count"] == 8


@pytest.mark.slow
def test_it_goes_on_after_a_kill_and_is_forked_at_each_kind_of_place(server: Server) -> None:
    with server.session(episode_id="long") as player:
        player.reply("count", steps=3)
        player.reply("mark", name="here")
        player.reply("count", steps=2)
        server.kill()
    server.start()

    with server.session(episode_id="long", resume=True) as player:
        assert player.begun["last_call"]["reply"]["count"] == 10
        assert player.reply("count", steps=1)["count"] == 12
    for place, count in (("@here", 8), ("@1", 4), ("", 14)):
        with server.session(fork_from=f"long{place}") as player:
            assert player.reply("count", steps=1)["count"] == count


def test_a_step_that_ran_before_comes_from_the_cache(served: Served) -> None:
    def counted(label: str) -> float:
        lines = httpx.get(f"http://127.0.0.1:{served.port}/metrics").text.splitlines()
        wanted = f'ml_trainer_epochs_total{{source="{label}",split="toy"}}'
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(wanted))

    with served.session(seed=77) as player:
        first = player.reply("count", steps=5)
    before = counted("trained"), counted("cache")
    with served.session(seed=77) as player:
        assert player.reply("count", steps=5) == first

    assert (counted("trained"), counted("cache")) == (before[0], before[1] + 5)


@pytest.mark.slow
def test_it_is_replayed_and_exported(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(TOY_FOLDER))
    monkeypatch.setenv("ML_TRAINER_STATE_DIR", str(server.folder))
    monkeypatch.setenv("ML_TRAINER_TORCH_THREADS", "1")
    from toy_game import ToyGame

    with server.session(episode_id="kept", seed=5) as player:
        player.reply("count", steps=2)
        player.reply("stop")

    assert journal.main(["replay", "kept"], {"": ToyGame()}) == 0
    assert "the same" in capsys.readouterr().out
    assert journal.main(["export", "kept", "--format", "chat"], {"": ToyGame()}) == 0
    exported = json.loads(capsys.readouterr().out)
    assert exported["score"] == 2.0
    assert exported["messages"][0]["content"] == "You count."
    assert [tool["function"]["name"] for tool in exported["tools"]] == ["count", "mark", "look", "stop"]
