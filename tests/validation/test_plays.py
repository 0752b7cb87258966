"""How two plays of one list of calls are compared."""

import math

from hypothesis import given
from hypothesis import strategies as st

from ml_trainer_env.validation.plays import Play, differences
from ml_trainer_env.validation.wire import Answer

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


def played(observation: object, reward: float | None = 0.0, done: bool = False, state: object = None) -> Play:
    return Play(Answer({}, None, False), (Answer({"x": observation}, reward, done),), ({}, {"s": state}), 1.0)


@given(JSON)
def test_a_play_is_equal_to_itself(observation: object) -> None:
    assert differences(played(observation), played(observation)) == []


@given(JSON, JSON)
def test_two_plays_differ_where_their_observations_or_states_do(one: object, other: object) -> None:
    if one != other:
        assert differences(played(one), played(other)) != []
        assert differences(played(0, state=one), played(0, state=other)) != []


def test_rewards_and_ends_are_compared_to_the_last_bit() -> None:
    assert differences(played(1, reward=0.1), played(1, reward=math.nextafter(0.1, 1.0))) != []
    assert differences(played(1, done=True), played(1, done=False)) != []


def test_fields_that_tell_the_time_or_name_the_episode_may_differ() -> None:
    one = {"epoch_time_s": 1.0, "episode_id": "a", "timestamp": 1, "loss": 2.0}
    other = {"epoch_time_s": 2.0, "episode_id": "b", "timestamp": 2, "loss": 2.0}

    assert differences(played(one), played(other)) == []
    assert differences(played(one), played({**other, "loss": 2.1})) == ["call 1: observation.x.loss is 2.0, then 2.1"]


def test_fields_can_be_left_out() -> None:
    assert differences(played({"seed": 1}), played({"seed": 2}), ignore={"seed"}) == []
