"""Bounds, refusals and the size of replies."""

import json
import math
from typing import Any

import pytest
from fleet_play import Begin, Player

from ml_trainer_env.server.episodes.errors import ArgumentsError, EpisodeError
from ml_trainer_env.server.fleet.rows import By, Metric, Reduction
from ml_trainer_env.server.fleet.tools import TOOLS
from ml_trainer_env.server.trainer.errors import ConfigError
from ml_trainer_env.server.trainer.fleet import faults

SECOND = 1_000_000
MOST_BYTES = 2_000

REQUIRED: dict[str, dict[str, Any]] = {
    "run_steps": {"num_steps": 1},
    "query_metrics": {"metric": "loss"},
    "read_log": {"rank": 0},
    "inspect": {"kind": "node", "id": "1"},
    "restart": {"checkpoint": "newest"},
    "set_node": {"node": 1, "action": "drain"},
    "set_shard": {"shard": 1, "action": "quarantine"},
    "broadcast": {"from_rank": 1},
    "report_incident": {"kind": "straggler"},
}
"""Valid arguments of each tool that needs some."""

WRONG = {
    "number": [
        math.nan,
        math.inf,
        -math.inf,
        -1,
        1e300,
        10**40,
        10**4000,
        "two",
        "nan",
        "1e999",
        "",
        [1],
        {"a": 1},
        True,
    ],
    "integer": [0.5, "0.5", math.nan, math.inf, -1, 1e300, 10**40, 10**4000, "two", "nan", "0x1", "", [1], {}, False],
    "boolean": [0, 1, "yes", "", [True], {}, math.nan, 2.0],
    "choice": ["", "LOSS", "loss ", 0, 3.5, math.nan, True, ["loss"], {"loss": 1}, "x" * 10_000],
    "id": [
        "",
        "-1",
        "16",
        "1.5",
        "nan",
        "inf",
        "two",
        "step-3",
        "node 1",
        "\uff11",
        "1_0",
        3.7,
        math.nan,
        math.inf,
        1e300,
        10**400,
        True,
        [1],
        {},
    ],
    "checkpoint": ["", "step-7", "NEWEST", 0, 1.5, math.nan, True, ["newest"], {}, "x" * 10_000],
}


def _wrong() -> list[Any]:
    cases = []
    for tool in TOOLS:
        for name, parameter in tool.parameters.items():
            kind = parameter.schema["type"]
            if (tool.name, name) == ("inspect", "id"):
                kind = "id"
            elif (tool.name, name) == ("restart", "checkpoint"):
                kind = "checkpoint"
            elif kind == "string":
                kind = "choice"
            if tool.name == "report_incident":
                continue  # any text is noted
            cases.append(pytest.param(tool.name, name, WRONG[kind], id=f"{tool.name}-{name}"))
    return cases


def standing(player: Player) -> Any:
    run = player.episode.run
    kept = [(one.id, one.ref.digest) for one in run.checkpoints]
    return player.observed(), run.now_us, run.training, run.cluster, run.events, kept, run._adjustment


@pytest.mark.parametrize(("tool", "name", "values"), _wrong())
def test_a_value_that_is_not_allowed_is_refused_in_plain_words_and_changes_nothing(
    begin: Begin, tool: str, name: str, values: list[Any]
) -> None:
    player = begin()
    before = json.dumps(standing(player), default=repr)
    for value in values:
        with pytest.raises((EpisodeError, ConfigError)) as refusal:
            player(tool, **{**REQUIRED.get(tool, {}), name: value})
        words = str(refusal.value)
        assert name.removeprefix("from_") in words or "checkpoint" in words or "skip_to" in words, (value, words)
        assert len(words) < 700
        assert json.dumps(standing(player), default=repr) == before, value


@pytest.mark.parametrize("tool", [tool.name for tool in TOOLS if tool.parameters])
def test_missing_and_unknown_parameters_are_refused(begin: Begin, tool: str) -> None:
    player = begin()
    with pytest.raises(ArgumentsError, match="Unexpected keyword argument"):
        player(tool, **REQUIRED.get(tool, {}), sudo=True)
    for name in [name for name, parameter in TOOLS.find(tool).parameters.items() if parameter.required]:
        with pytest.raises(ArgumentsError, match=f"'{name}': Missing required argument"):
            player(tool, **{key: value for key, value in REQUIRED[tool].items() if key != name})


REFUSED = [
    ("set_training", {}, "at least one setting"),
    ("set_node", {"node": 9, "action": "drain"}, r"not used; nodes in use are 0, 1"),
    ("set_node", {"node": 1, "action": "restore"}, r"not drained; drained are: none"),
    ("set_node", {"node": 16, "action": "drain"}, r"\[0, 15\]"),
    ("set_shard", {"shard": 1, "action": "restore"}, "neither in quarantine nor"),
    ("inspect", {"kind": "node", "id": "11"}, "there is no node 11; nodes are 0, 1"),
    ("inspect", {"kind": "node"}, "id must be"),
    ("inspect", {"kind": "checkpoint", "id": "step-9"}, "there are newest, step-0"),
    ("restart", {"checkpoint": "newest", "skip_from": 4}, "belong together"),
    ("restart", {"checkpoint": "newest", "skip_from": 4, "skip_to": 4}, "the greater one"),
    ("query_metrics", {"metric": "loss", "by": "rank", "reduce": "series"}, "a series is for by=total"),
]


@pytest.mark.parametrize(
    ("tool", "arguments", "words"), REFUSED, ids=[f"{tool}-{n}" for n, (tool, *_) in enumerate(REFUSED)]
)
def test_what_cannot_be_done_is_refused_with_what_can(
    begin: Begin, tool: str, arguments: dict[str, Any], words: str
) -> None:
    player = begin()
    before = json.dumps(standing(player), default=repr)

    with pytest.raises((EpisodeError, ConfigError), match=words):
        player(tool, **arguments)

    assert json.dumps(standing(player), default=repr) == before


def test_there_are_bounds_to_what_may_be_taken_away(begin: Begin) -> None:
    player = begin()
    for node in range(4):
        player("set_node", node=node, action="drain")
    with pytest.raises(EpisodeError, match="at least 4 ranks"):
        player("set_node", node=4, action="drain")
    for shard in range(12):
        player("set_shard", shard=shard, action="quarantine")
    with pytest.raises(EpisodeError, match="at least 4 shards"):
        player("set_shard", shard=12, action="quarantine")
    with pytest.raises(EpisodeError, match="shard 1 is in quarantine"):
        player("set_shard", shard=1, action="quarantine")
    with pytest.raises(EpisodeError, match="ranks are 0 to 3"):
        player("broadcast", from_rank=4)
    for node, spare in ((4, 8), (5, 9)):
        assert f"node {node} was replaced by node {spare}" in _replaced(player, node)
    with pytest.raises(EpisodeError, match="there is no spare node; drain"):
        player("set_node", node=6, action="replace")


def _replaced(player: Player, node: int) -> str:
    player("set_node", node=node, action="replace")
    return player.episode.run.events[-1].text


def test_text_counts_as_the_number_that_it_means(begin: Begin) -> None:
    player = begin()

    assert player("run_steps", num_steps="2")["step"] == 2
    assert player("set_training", learning_rate="1e-3", skip_nonfinite="true")["settings"]["learning_rate"] == 0.001
    assert player("inspect", kind="shard", id=3)["shard"] == 3
    assert player("inspect", kind="shard", id="15")["shard"] == 15


def fill(player: Player) -> None:
    """Play until replies are long: many ranks that died, notices, late steps, drained nodes, checkpoints."""
    player("set_training", checkpoint_every=4)
    for node, shard in ((4, 2), (5, 3), (6, 7)):
        player("set_shard", shard=shard, action="quarantine")
        player("set_shard", shard=shard, action="mirror")
        player("set_node", node=node, action="drain")
    player("run_steps", num_steps=48)


def busy_faults() -> list[faults.Fault]:
    alert = "storage: latency p99 41 ms, target 40 ms, on the pool of node 7"
    return [
        faults.MissingOptimizer(),
        faults.LoaderStall((1, 2, 3, 4), 0, SECOND),
        faults.Crash(1, (80 * SECOND, 120 * SECOND, 160 * SECOND)),
        faults.Maintenance(7, 100 * SECOND, 400 * SECOND, 570 * SECOND),
        *(faults.HarmlessAlert(moment * SECOND, alert) for moment in (70, 90)),
    ]


def test_every_reply_before_the_end_has_at_most_two_thousand_bytes(begin: Begin) -> None:
    player = begin(*busy_faults())
    fill(player)
    sizes = {}

    def ask(tool: str, **arguments: Any) -> None:
        reply = player(tool, **arguments)
        assert not reply["done"]
        sizes[tool, *map(str, arguments.values())] = len(json.dumps(reply).encode())

    for metric in Metric:
        for by in By:
            for reduction in Reduction:
                if reduction is not Reduction.SERIES or by is By.TOTAL:
                    ask("query_metrics", metric=metric.value, by=by.value, reduce=reduction.value, last=200)
    for rank in range(7):
        ask("read_log", rank=rank, tail=20)
    ask("list_checkpoints")
    ask("get_training_status")
    ask("set_training", checkpoint_every=1)
    ask("report_incident", kind="x" * 5_000, target="y" * 5_000)
    ask("inspect", kind="shard", id="1")
    ask("inspect", kind="replicas")
    ask("inspect", kind="checkpoint", id="newest")
    ask("run_steps", num_steps=12)

    assert {call: size for call, size in sizes.items() if size > MOST_BYTES} == {}
    assert len(player("query_metrics", metric="loss", last=200)["values"]["total"]) == 40


def test_a_log_has_as_many_lines_as_were_asked_for_unless_they_are_too_long(begin: Begin) -> None:
    player = begin()
    player("run_steps", num_steps=50)
    player("run_steps", num_steps=50)

    few = player("read_log", rank=2, tail=5)["lines"]
    many = player("read_log", rank=2, tail=20)["lines"]

    assert len(few) == 5
    assert len(many) > 10
    assert many[-5:] == few


@pytest.mark.parametrize("skips", [False, True])
def test_no_reply_has_a_number_that_json_has_not(begin: Begin, skips: bool) -> None:
    """`Player` refuses NaN and Infinity in every reply."""
    player = begin(faults.NonfiniteBatch(3, 0), faults.NonfiniteBatch(8 + 2, 1))
    player("set_training", checkpoint_every=2, skip_nonfinite=skips, dynamic_loss_scale=skips)
    player("run_steps", num_steps=6)
    for metric in Metric:
        for by in By:
            for reduction in ("mean", "max", "last"):
                player("query_metrics", metric=metric.value, by=by.value, reduce=reduction)
    for reply in (
        player("query_metrics", metric="loss"),
        player("list_checkpoints"),
        player("read_log", rank=1, tail=20),
        player("inspect", kind="replicas"),
        player("inspect", kind="checkpoint", id="newest"),
    ):
        assert "NaN" not in json.dumps(reply)
    player.observed()
    assert player("submit_model")["done"]
