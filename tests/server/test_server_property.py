"""Whatever an agent sends to a tool: it gets an answer, and a refused call changes nothing."""

import asyncio
import json
import math
import re
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from websockets.sync.client import ClientConnection, connect

from ml_trainer_env.server.security import MAX_BODY_BYTES
from ml_trainer_env.server.tuning.tools import TOOLS

PARAMETERS = (
    "optimizer",
    "learning_rate",
    "batch_size",
    "weight_decay",
    "dropout",
    "lr_schedule",
    "warmup_epochs",
    "augmentation",
    "augmentation_strength",
    "reinitialize",
    "num_epochs",
    "new_lr",
    "enabled",
    "strength",
    "name",
)

READABLE = re.compile(
    r"must be |unexpected keyword argument|missing required argument|unknown tool|there is no |there is nothing "
    r"|is used up|has diverged|keeps at most|the episode is over",
    re.IGNORECASE,
)
"""Every refusal says one of these; anything else is a bug that came through."""


LOWEST_RATE = {"learning_rate": 5e-324}
TWENTY = {"num_epochs": 20}


def nested(depth: int) -> Any:
    """A list in a list in a list, as deep as JSON that a server accepts may be."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


plausible = st.sampled_from(
    [0, 1, 2, 20, 21, 0.5, 1.0, 64, 64.0, 10, -1, True, False, None, "adam", "sgd", "cosine", "step", "a", "", "64"]
)
extreme = st.one_of(
    st.sampled_from(
        [math.nan, math.inf, -math.inf, 5e-324, -0.0, 1e308, 2**63, -(2**63), 10**400, -(10**400), 10**4000]
    ),
    st.integers(1, 80).map(nested),
    st.integers(1, 100_000).map(lambda length: "\N{SNOWMAN}" * length),
    st.integers(1, 1_000).map(lambda length: {str(key): key for key in range(length)}),
)
scalar = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=80))
anything = st.recursive(
    st.one_of(scalar, plausible, extreme),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=8,
)
arguments = st.dictionaries(st.one_of(st.sampled_from(PARAMETERS), st.text(max_size=20)), anything, max_size=4)
fitting = {
    "configure_training": st.dictionaries(st.sampled_from(PARAMETERS[:10]), st.one_of(plausible, extreme), max_size=4),
    "run_epochs": st.fixed_dictionaries({"num_epochs": st.one_of(plausible, extreme)}),
    "adjust_learning_rate": st.fixed_dictionaries({"new_lr": st.one_of(plausible, extreme)}),
    "toggle_augmentation": st.fixed_dictionaries({"enabled": st.booleans()}, optional={"strength": anything}),
    "save_checkpoint": st.fixed_dictionaries({"name": st.one_of(plausible, extreme, st.text(max_size=70))}),
    "restore_checkpoint": st.fixed_dictionaries({"name": st.one_of(plausible, extreme, st.text(max_size=70))}),
}


@st.composite
def tool_calls(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A call of a tool, mostly one that there is, with arguments that mostly have the right names."""
    name = draw(st.one_of(st.sampled_from(TOOLS.names), st.sampled_from(tuple(fitting)), st.text(max_size=30)))
    return name, draw(st.one_of(fitting.get(name, st.just({})), arguments))


def test_whatever_is_sent_is_answered_and_a_refused_call_changes_nothing(new_session: Any) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(calls=st.lists(tool_calls(), min_size=1, max_size=6))
    @example(calls=[("run_epochs", {"num_epochs": 10**400})])
    @example(calls=[("adjust_learning_rate", {"new_lr": 10**4000})])
    @example(calls=[("adjust_learning_rate", {"new_lr": math.nan})])
    @example(calls=[("run_epochs", {"num_epochs": nested(200)})])
    @example(calls=[("save_checkpoint", {"name": "\ud800"})])
    @example(calls=[("run_epochs", {"\ud800": 1})])
    @example(calls=[("\ud800", {})])
    @example(calls=[("configure_training", LOWEST_RATE | {"lr_schedule": "cosine"}), *[("run_epochs", TWENTY)] * 4])
    @example(calls=[("configure_training", LOWEST_RATE | {"lr_schedule": "warmup_cosine", "warmup_epochs": 20})])
    def law(calls: list[tuple[str, dict[str, Any]]]) -> None:
        asyncio.run(hold(calls))

    async def hold(calls: list[tuple[str, dict[str, Any]]]) -> None:
        session = new_session()
        await session.environment.reset_async()
        async with session.environment.mcp_session():
            for name, given_arguments in calls:
                before = await session.standing()
                steps = session.environment.state.step_count

                answer = await session.call(name, **given_arguments)

                json.dumps(answer, allow_nan=False)  # what crosses the wire is JSON
                assert session.environment.state.step_count == steps + 1
                if answer["error"] is None:
                    assert answer["reward"] == answer["reply"]["reward"]
                    continue
                assert (answer["reward"], answer["done"]) == (0.0, before["state"]["done"])
                assert await session.standing() == before
                assert READABLE.search(answer["error"]), answer["error"][:500]
                assert len(answer["error"]) < 1_000

    law()


BAD_CALLS = [
    ("run_epochs", {"num_epochs": 0}),
    ("run_epochs", {}),
    ("configure_training", {"dropout": 0.3, "learning_rate": -1}),
    ("configure_training", {"reinitialize": True, "batch_size": 7}),
    ("configure_training", {"lr_schedule": "cosine", "momentum": 0.9}),
    ("adjust_learning_rate", {"new_lr": "fast"}),
    ("toggle_augmentation", {"enabled": True, "strength": 2}),
    ("save_checkpoint", {"name": "a b"}),
    ("restore_checkpoint", {"name": "missing"}),
    ("no_such_tool", {}),
]


@pytest.mark.slow
@pytest.mark.parametrize("rubric", ["v1", "v2"])
def test_an_episode_with_refused_calls_in_it_goes_as_the_one_without(new_session: Any, run: Any, rubric: str) -> None:
    script: list[tuple[str, dict[str, Any]]] = [
        ("configure_training", {"lr_schedule": "warmup_cosine", "warmup_epochs": 3, "dropout": 0.1}),
        ("run_epochs", {"num_epochs": 4}),
        ("save_checkpoint", {"name": "a"}),
        ("adjust_learning_rate", {"new_lr": 0.01}),
        ("run_epochs", {"num_epochs": 2}),
        ("restore_checkpoint", {"name": "a"}),
        ("run_epochs", {"num_epochs": 2}),
        ("submit_model", {}),
    ]

    async def play(between: list[tuple[str, dict[str, Any]]]) -> tuple[list[Any], list[Any]]:
        session = new_session()
        await session.environment.reset_async(task_id="hard_cifar", rubric=rubric)
        replies = []
        for name, given_arguments in script:
            for bad_name, bad_arguments in between:
                refused = await session.call(bad_name, **bad_arguments)
                assert refused["error"] is not None
                assert refused["reward"] == 0.0
            replies.append(await session.reply(name, **given_arguments))
        return replies, [(job.config, job.plan, job.state.epoch, job.state.seed) for job in session.executor.jobs]

    assert run(play(BAD_CALLS)) == run(play([]))


half_a_pair = st.sampled_from(["\ud800", "a\udfff", "\udc00\ud800"])
unsendable = st.one_of(anything, half_a_pair, st.dictionaries(half_a_pair, anything, min_size=1, max_size=2))


@st.composite
def wire_calls(draw: st.DrawFn) -> tuple[str, Any, Any]:
    """A way in, a tool and arguments, which need not even be an object. Training stays short, and no body too large."""
    way = draw(st.sampled_from(["step", "mcp", "http"]))
    name, given_arguments = draw(tool_calls())
    if given_arguments.get("num_epochs") in [2, 10, 20, 64]:
        given_arguments = {"num_epochs": 1}
    call = way, draw(st.one_of(st.just(name), unsendable)), draw(st.one_of(st.just(given_arguments), unsendable))
    assume(len(json.dumps(call)) < MAX_BODY_BYTES - 1_000)
    return call


@pytest.mark.slow
def test_whatever_comes_over_the_wire_is_answered_and_a_refused_call_changes_nothing(live_server: str) -> None:
    # A session that is made over HTTP and joined by a socket can be reached in all three ways.
    with httpx.Client(base_url=live_server, timeout=60.0, trust_env=False) as http:
        create = {"jsonrpc": "2.0", "id": 1, "method": "openenv/session/create"}
        session_id = http.post("/mcp", json=create).json()["result"]["session_id"]
        url = f"{live_server.replace('http', 'ws')}/ws?session_id={session_id}"
        with connect(url, proxy=None, max_size=None) as socket:
            hold_over_the_wire(http, socket, session_id)
        http.post("/mcp", json=create | {"method": "openenv/session/close", "params": {"session_id": session_id}})


def hold_over_the_wire(http: httpx.Client, socket: ClientConnection, session_id: str) -> None:
    def ask(message: dict[str, Any]) -> dict[str, Any]:
        socket.send(json.dumps(message))
        return json.loads(socket.recv(60.0))

    def standing() -> dict[str, Any]:
        answer = ask({"type": "state"})
        assert answer["type"] == "state", answer
        return {**answer["data"], "step_count": None}

    def rpc(name: Any, given_arguments: Any, **more: Any) -> dict[str, Any]:
        return {
            "jsonrpc": "2.0",
            "id": 7,
            "method": "tools/call",
            "params": {"name": name, "arguments": given_arguments, **more},
        }

    def call(way: str, name: Any, given_arguments: Any) -> tuple[dict[str, Any], bool]:
        """The answer to a call, and whether it is a refusal."""
        if way == "step":
            action = {"type": "call_tool", "tool_name": name, "arguments": given_arguments}
            answer = ask({"type": "step", "data": action})
            assert answer["type"] in {"observation", "error"}
            return answer, answer["type"] == "error" or answer["data"]["observation"]["error"] is not None
        if way == "mcp":
            answer = ask({"type": "mcp", "data": rpc(name, given_arguments)})
            if answer["type"] == "error":
                return answer, True
            assert answer["type"] == "mcp"
            return answer, "error" in answer["data"]
        response = http.post("/mcp", content=json.dumps(rpc(name, given_arguments, session_id=session_id)))
        assert response.status_code == 200
        return response.json(), "error" in response.json()

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(calls=st.lists(wire_calls(), min_size=1, max_size=5))
    @example(calls=[(way, "run_epochs", {"num_epochs": nested(60)}) for way in ("step", "mcp", "http")])
    @example(calls=[(way, "run_epochs", {"num_epochs": nested(900)}) for way in ("step", "mcp", "http")])
    @example(calls=[(way, "save_checkpoint", {"name": "\ud800"}) for way in ("step", "mcp", "http")])
    @example(calls=[(way, "save_checkpoint", {"name": "a\0\N{GRINNING FACE}"}) for way in ("step", "mcp", "http")])
    @example(calls=[(way, "adjust_learning_rate", {"new_lr": math.nan}) for way in ("step", "mcp", "http")])
    @example(calls=[(way, "adjust_learning_rate", math.nan) for way in ("step", "mcp", "http")])
    @example(calls=[(way, "run_epochs", {"num_epochs": 10**4000}) for way in ("step", "mcp", "http")])
    @example(calls=[(way, "save_checkpoint", {"name": "\N{SNOWMAN}" * 150_000}) for way in ("step", "mcp", "http")])
    @example(calls=[(way, "save_checkpoint", {"name": ["x" * 900_000]}) for way in ("step", "mcp", "http")])
    @example(calls=[(way, ["run_epochs"], {"num_epochs": 1}) for way in ("step", "mcp", "http")])
    def law(calls: list[tuple[str, Any, Any]]) -> None:
        assert ask({"type": "reset", "data": {}})["type"] == "observation"
        for way, name, given_arguments in calls:
            before = standing()

            answer, is_refused = call(way, name, given_arguments)

            json.dumps(answer, allow_nan=False).encode()
            if is_refused:
                assert standing() == before
                assert len(json.dumps(answer)) < 2_000_000  # OpenEnv repeats what it could not read

    law()
