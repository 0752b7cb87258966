"""Numbers and truth values that come as text are taken for what they spell, on every way in alike."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.sync.client import connect

from ml_trainer_env import MLTrainerEnv, ToolCallError
from ml_trainer_env.server.episodes.arguments import read_flag, read_number
from ml_trainer_env.server.tuning.tools import TOOLS

SPELLED = {
    "optimizer": "sgd",
    "learning_rate": "0.001",
    "batch_size": "32",
    "weight_decay": "1e-4",
    "dropout": ".5",
    "warmup_epochs": "2.0",
    "augmentation": "true",
    "augmentation_strength": " 1 ",
    "reinitialize": "False",
}
MEANT = {
    "optimizer": "sgd",
    "learning_rate": 0.001,
    "batch_size": 32,
    "weight_decay": 1e-4,
    "dropout": 0.5,
    "warmup_epochs": 2,
    "augmentation": True,
    "augmentation_strength": 1.0,
}
UNREAD = ["nan", "inf", "-Infinity", "0x10", "1_000", "two", "", " ", "1e", "1,5", "\u0661", "9" * 41, "1e9999", "yes"]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_survives_its_spelling(number: float) -> None:
    assert read_number(repr(number)) == number


@given(st.integers(-(10**38), 10**38))
def test_a_whole_number_survives_its_spelling_and_stays_whole(number: int) -> None:
    read = read_number(str(number))

    assert (read, type(read)) == (number, int)


@given(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.lists(st.text()),
        st.sampled_from(UNREAD),
    )
)
def test_anything_else_stays_as_it_is(value: Any) -> None:
    assert read_number(value) == value


@pytest.mark.parametrize(("text", "flag"), [("true", True), ("False", False), (" TRUE ", True), ("yes", "yes"), (1, 1)])
def test_a_truth_value_is_spelled_in_one_way(text: Any, flag: Any) -> None:
    assert read_flag(text) is flag or read_flag(text) == flag


def test_a_name_that_looks_like_a_number_stays_a_name() -> None:
    assert TOOLS.find("save_checkpoint").read({"name": "2"}) == {"name": "2"}
    assert TOOLS.find("run_epochs").read({"num_epochs": "2"}) == {"num_epochs": 2}


def configured(reply: dict[str, Any]) -> dict[str, Any]:
    return {name: reply["configuration"][name] for name in MEANT}


def test_text_is_read_over_openenv_and_json_rpc(live_server: str) -> None:
    with MLTrainerEnv(base_url=live_server) as env:
        begun = env.reset(task_id="easy_mnist", seed="7", resume="false").observation
        assert begun.seed == 7
        assert configured(env.call_tool("configure_training", **SPELLED)) == MEANT
        assert env.call_tool("run_epochs", num_epochs="2")["current_epoch"] == 2
        assert env.call_tool("adjust_learning_rate", new_lr="1e-2")["learning_rate"] == 0.01
        toggled = env.call_tool("toggle_augmentation", enabled="false", strength="0.25")
        assert toggled["configuration"]["augmentation_strength"] == 0.25
        for text in UNREAD:
            with pytest.raises(ToolCallError, match="num_epochs must be a whole number"):
                env.call_tool("run_epochs", num_epochs=text)
        with pytest.raises(ToolCallError, match="enabled must be true or false"):
            env.call_tool("toggle_augmentation", enabled="yes")

    with connect(live_server.replace("http", "ws") + "/ws", proxy=None) as socket:

        def ask(message: dict[str, Any]) -> Any:
            socket.send(json.dumps(message))
            return json.loads(socket.recv(60.0))["data"]

        assert ask({"type": "reset", "data": {"split": "named", "index": "1"}})["observation"]["task"]["id"]
        params = {"name": "configure_training", "arguments": SPELLED}
        rpc = ask({"type": "mcp", "data": {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}})
        assert configured(rpc["result"]["data"]) == MEANT

    with httpx.Client(base_url=live_server, timeout=60.0, trust_env=False) as http:
        assert http.post("/reset", json={"seed": "7"}).json()["observation"]["seed"] == 7


def test_text_is_read_over_mcp_and_the_journal_holds_what_it_meant(serve: Any, t: Any) -> None:
    async def play(served: Any) -> None:
        async with served.official() as session:
            begun = t.reply(await session.call_tool("start_task", {"seed": "7", "episode_id": "e", "resume": "false"}))
            assert begun["seed"] == 7
            assert configured(t.reply(await session.call_tool("configure_training", SPELLED))) == MEANT
            assert t.reply(await session.call_tool("run_epochs", {"num_epochs": "2"}))["current_epoch"] == 2
            again = t.reply(await session.call_tool("start_task", {"episode_id": "e", "resume": "true"}))
            assert again["last_call"]["arguments"] == {"num_epochs": 2}
            assert again["status"]["current_epoch"] == 2

    serve(play)


def test_a_reply_is_sent_once_where_the_protocol_allows_it(live_server: str, serve: Any) -> None:
    with connect(live_server.replace("http", "ws") + "/ws", proxy=None) as socket:

        def ask(message: dict[str, Any]) -> tuple[str, Any]:
            socket.send(json.dumps(message))
            text = str(socket.recv(120.0))
            return text, json.loads(text)["data"]

        ask({"type": "reset", "data": {"task_id": "easy_mnist"}})
        action = {"type": "call_tool", "tool_name": "run_epochs", "arguments": {"num_epochs": 2}}
        stepped, answer = ask({"type": "step", "data": action})
        params = {"name": "get_training_status", "arguments": {}}
        rpc, answered = ask(
            {"type": "mcp", "data": {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}}
        )

    assert stepped.count("best_val_epoch") == 1  # OpenEnv's clients read `data`
    assert answer["observation"]["result"]["data"]["current_epoch"] == 2
    assert rpc.count("best_val_epoch") == 2  # MCP wants `content`, OpenEnv's client `data`
    assert json.loads(answered["result"]["content"][0]["text"]) == answered["result"]["data"]

    async def play(served: Any) -> None:
        async with served.raw() as session:
            await session.call("start_task")
            (message,) = await session.messages("run_epochs", num_epochs=2)
            assert json.dumps(message).count("best_val_epoch") == 2  # MCP: structured, and as text for older clients

    serve(play)
