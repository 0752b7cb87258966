"""Virtual time is spent once, rewards sum to the score, and an episode ends when its time or its calls do."""

import math
from typing import Any

import pytest
from fleet_play import REFERENCES, Begin, Player, Reply
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.fleet.episode import MAX_CALLS
from ml_trainer_env.server.fleet.scoring import References, score
from ml_trainer_env.server.fleet.timing import INSPECT_US
from ml_trainer_env.server.trainer.errors import ConfigError
from ml_trainer_env.server.trainer.fleet import faults
from ml_trainer_env.server.trainer.fleet.figures import CHANCE_LOSS

SECOND = 1_000_000
Call = tuple[str, dict[str, Any]]

FREE: list[Call] = [
    ("query_metrics", {"metric": "loss", "by": "shard", "reduce": "max"}),
    ("query_metrics", {"metric": "memory_gb"}),
    ("read_log", {"rank": 1}),
    ("list_checkpoints", {}),
    ("get_training_status", {}),
    ("report_incident", {"kind": "straggler", "target": "3"}),
    ("set_training", {"clip_norm": 1.0}),
]
COSTLY: dict[str, tuple[Call, float]] = {
    "self-test": (("inspect", {"kind": "node", "id": "2"}), 12),
    "statistics": (("inspect", {"kind": "shard", "id": "2"}), 3),
    "contents": (("inspect", {"kind": "checkpoint", "id": "newest"}), 3),
    "checksums": (("inspect", {"kind": "replicas"}), 2),
    "replacement": (("set_node", {"node": 2, "action": "replace"}), 40),
    "drain": (("set_node", {"node": 2, "action": "drain"}), 10),
    "quarantine": (("set_shard", {"shard": 2, "action": "quarantine"}), 5),
    "mirror": (("set_shard", {"shard": 2, "action": "mirror"}), 5),
    "broadcast": (("broadcast", {"from_rank": 2}), 2),
    "restart": (("restart", {"checkpoint": "step-0"}), 20),
}

call_lists = st.lists(
    st.one_of(
        st.sampled_from([*FREE, *(call for call, _ in COSTLY.values())]),
        st.sampled_from(
            [("set_node", {"node": 2, "action": "restore"}), ("set_shard", {"shard": 2, "action": "restore"})]
        ),
        st.tuples(
            st.just("run_steps"),
            st.fixed_dictionaries(
                {"num_steps": st.integers(1, 6)}, optional={"stop_on": st.sampled_from(["restart", "spike"])}
            ),
        ),
        st.tuples(st.just("set_training"), st.fixed_dictionaries({"checkpoint_every": st.integers(1, 4)})),
        st.tuples(
            st.just("restart"),
            st.fixed_dictionaries(
                {"checkpoint": st.sampled_from(["newest", "step-0", "step-4"])},
                optional={"schedule_position": st.integers(0, 90), "data_position": st.integers(0, 90)},
            ),
        ),
    ),
    min_size=6,
    max_size=20,
)


def play(player: Player, calls: list[Call]) -> list[Reply]:
    """The replies to calls; those that are refused have none."""
    replies: list[Reply] = []
    for tool, arguments in calls:
        if player.episode.done:
            break
        try:
            replies.append(player(tool, **arguments))
        except (EpisodeError, ConfigError):
            continue
    return replies


def spend(player: Player) -> list[Reply]:
    """Let the reservation pass in tests of nodes and a few last steps, and return the replies."""
    replies = [player("get_training_status")]
    while replies[-1]["left_s"] > INSPECT_US["node"] / SECOND + 1:
        replies.append(player("inspect", kind="node", id="0"))
    while not replies[-1]["done"]:
        replies.append(player("run_steps", num_steps=50))
    return replies


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=call_lists, moment=st.integers(3, 40), hangs=st.booleans())
def test_virtual_time_never_goes_back_and_rewards_sum_to_the_score(
    begin: Begin, calls: list[Call], moment: int, hangs: bool
) -> None:
    fault = (faults.Hang if hangs else faults.Crash)(1, (moment * SECOND, (moment + 40) * SECOND))
    player = begin(fault)

    replies = play(player, calls)
    if not player.episode.done:
        replies += spend(player)

    clocks = [0.0, *(reply["clock_s"] for reply in replies)]
    assert clocks == sorted(clocks)
    assert replies[-1]["done"]
    assert sum(reply["done"] for reply in replies) == 1
    assert math.isclose(sum(reply["reward"] for reply in replies), replies[-1]["score"], abs_tol=1e-5)
    rows = [row.now_us for row in player.episode.run.rows]
    assert rows == sorted(set(rows))
    assert all(sum(reply["reward_parts"].values()) == pytest.approx(reply["reward"], abs=2e-6) for reply in replies)


@pytest.mark.parametrize("call", FREE, ids=[tool for tool, _ in FREE])
def test_what_is_free_takes_no_time(begin: Begin, call: Call) -> None:
    player = begin()
    before = player("run_steps", num_steps=3)

    after = player(call[0], **call[1])

    assert (after["clock_s"], after["left_s"], after["step"]) == (before["clock_s"], before["left_s"], 3)


@pytest.mark.parametrize(("call", "seconds"), COSTLY.values(), ids=COSTLY)
def test_what_costs_takes_the_time_that_its_description_tells(begin: Begin, call: Call, seconds: float) -> None:
    player = begin()
    player("run_steps", num_steps=1)
    before = player.episode.run.now_us

    player(call[0], **call[1])

    assert player.episode.run.now_us - before == seconds * SECOND


def test_the_prices_of_inspections_are_in_their_description() -> None:
    assert {kind: cost // SECOND for kind, cost in INSPECT_US.items()} == {
        "node": 12,
        "shard": 3,
        "checkpoint": 3,
        "replicas": 2,
    }


def test_the_end_of_the_reservation_ends_the_episode_and_submits_the_model(begin: Begin) -> None:
    player = begin()
    player("run_steps", num_steps=5)
    measured = []

    last = spend(player)[-1]
    measured = last["held_out_loss"], last["nothing_loss"], last["clean_loss"]

    assert last["left_s"] == 0
    assert "submitted by itself" in last["message"]
    assert measured[1:] == (REFERENCES["nothing_loss"], REFERENCES["clean_loss"])
    assert 0 < measured[0] < CHANCE_LOSS
    assert last["score"] == score(measured[0], References(3.0, 2.0)) == player.episode.score


def test_an_action_needs_the_time_that_it_takes(begin: Begin) -> None:
    player = begin()
    player("run_steps", num_steps=2)
    for _ in range(29):
        player("inspect", kind="node", id="0")

    for tool, arguments in (("restart", {"checkpoint": "step-0"}), ("set_node", {"node": 3, "action": "replace"})):
        before = player("get_training_status")
        with pytest.raises(EpisodeError, match="of the reservation are left"):
            player(tool, **arguments)
        assert player("get_training_status") == before


def test_a_model_without_steps_is_worth_chance(begin: Begin) -> None:
    assert begin()("submit_model")["held_out_loss"] == CHANCE_LOSS


def test_after_its_end_an_episode_refuses_changes_and_answers_questions_without_pay(begin: Begin) -> None:
    player = begin()
    player("run_steps", num_steps=2)
    last = player("submit_model")
    end = {name: last[name] for name in ("score", "held_out_loss", "faults", "incidents", "reports")}

    for tool, arguments in [
        *(call for call, _ in COSTLY.values()),
        ("run_steps", {"num_steps": 1}),
        ("submit_model", {}),
    ]:
        with pytest.raises(EpisodeError, match="the episode is over; call reset"):
            player(tool, **arguments)
    for tool, arguments in [call for call in FREE if call[0] not in {"report_incident", "set_training"}]:
        reply = player(tool, **arguments)
        assert (reply["reward"], reply["done"]) == (0.0, True)
        assert end.items() <= reply.items()


@pytest.mark.parametrize(
    "last", [("get_training_status", {}), ("run_steps", {"num_steps": 3}), ("broadcast", {"from_rank": 9})]
)
def test_the_last_call_that_an_episode_may_have_submits_whatever_it_is(begin: Begin, last: Call) -> None:
    player = begin()
    for _ in range(MAX_CALLS - 2):
        assert not player("get_training_status")["done"]
    assert not player.episode.counts_every_call
    with pytest.raises(ConfigError):
        player("run_steps", num_steps=0)  # a call that is refused counts, too
    assert player.episode.counts_every_call

    reply = player(last[0], **last[1])

    assert reply["done"]
    assert f"call {MAX_CALLS}" in reply["message"]
    assert reply["clock_s"] == 0


REFUSED: list[Call] = [
    ("query_metrics", {"metric": "speed"}),
    ("query_metrics", {"metric": "loss", "by": "rank", "reduce": "series"}),
    ("query_metrics", {"metric": "loss", "last": 0}),
    ("read_log", {"rank": 99}),
    ("read_log", {"rank": 0, "tail": 21}),
    ("inspect", {"kind": "node", "id": "99"}),
    ("restart", {"checkpoint": "step-7"}),
    ("set_training", {}),
    ("set_node", {"node": 0, "action": "restore"}),
]


@pytest.mark.parametrize("call", REFUSED, ids=[f"{tool} {number}" for number, (tool, _) in enumerate(REFUSED)])
def test_a_call_that_is_refused_counts_whether_it_reads_or_changes(begin: Begin, call: Call) -> None:
    """The rule of the tuning game: a budget of calls is spent by whoever calls."""
    player = begin()

    for _ in range(MAX_CALLS - 1):
        with pytest.raises((EpisodeError, ConfigError)):
            player(call[0], **call[1])

    assert player.episode.counts_every_call
    assert player(call[0], **call[1])["done"]


def test_a_call_that_only_reads_is_not_paid_for_steps_of_a_call_that_still_runs(begin: Begin) -> None:
    """Reads do not take turns with changes and are recorded before them, so a reward for one could not be replayed."""
    player = begin()
    seen: list[Reply] = []

    def look(_: Any) -> None:
        reading = player.episode.status()
        with pytest.raises(StopIteration) as stopped:
            reading.send(None)  # type: ignore[attr-defined]  # it waits for nothing
        seen.append(stopped.value.value)

    trained = player._run(player.episode.call("run_steps", {"num_steps": 4}, look))

    assert [reply["reward"] for reply in seen] == [0.0] * 4
    assert trained["reward"] != 0
