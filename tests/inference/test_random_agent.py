"""The random agent: whatever the tools are, its calls are ones that their schemas allow."""

from random import Random

import pytest

from ml_trainer_env.baselines.play import play
from ml_trainer_env.baselines.random_agent import RandomAgent, random_arguments
from ml_trainer_env.baselines.schema_sampling import sample


def draws(schema, count=300, shared=None):
    source = Random(1)
    return [sample(schema, source, shared or {}) for _ in range(count)]


def test_it_plays_an_episode_to_its_grade_without_a_refused_argument(make_session):
    session = make_session()

    turns = play(RandomAgent(seed=3), session)

    assert turns[-1].outcome.done
    refusals = [turn.outcome.refusal for turn in turns if turn.outcome.refusal]
    assert all("must be" not in refusal and "unknown" not in refusal for refusal in refusals)


def test_the_same_seed_plays_the_same_game(make_session):
    first, again, other = make_session(), make_session(), make_session()

    play(RandomAgent(seed=3), first)
    play(RandomAgent(seed=3), again)
    play(RandomAgent(seed=4), other)

    assert first.calls == again.calls
    assert first.calls != other.calls


def test_it_does_not_submit_before_the_end(make_session):
    session = make_session()

    play(RandomAgent(seed=5, calls=30), session)

    assert [name for name, _ in session.calls].index("submit_model") == len(session.calls) - 1


def test_required_arguments_are_always_there_and_optional_ones_sometimes():
    schema = {"properties": {"a": {"type": "boolean"}, "b": {"type": "boolean"}}, "required": ["a"]}
    source = Random(1)

    names = {tuple(sorted(random_arguments(schema, source))) for _ in range(50)}

    assert names == {("a",), ("a", "b")}


def test_integers_keep_to_their_bounds():
    assert set(draws({"type": "integer", "minimum": 1, "maximum": 3})) == {1, 2, 3}
    assert set(draws({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 3})) == {1, 2}
    assert set(draws({"type": "integer", "minimum": 1, "maximum": 100, "multipleOf": 32})) == {32, 64, 96}


def test_numbers_keep_to_their_bounds():
    assert all(0.1 <= value <= 0.5 for value in draws({"type": "number", "minimum": 0.1, "maximum": 0.5}))


def test_a_rate_is_drawn_by_magnitude():
    values = draws({"type": "number", "exclusiveMinimum": 0, "maximum": 10})

    assert all(0 < value <= 10 for value in values)
    assert sum(value < 0.01 for value in values) > 50


@pytest.mark.parametrize(
    ("schema", "allowed"),
    [
        ({"enum": ["sgd", "adam"]}, {"sgd", "adam"}),
        ({"enum": [32, 64, None]}, {32, 64}),
        ({"const": 5}, {5}),
        ({"type": "boolean"}, {True, False}),
        ({"anyOf": [{"enum": [1, 2]}, {"type": "null"}]}, {1, 2}),
        ({"type": ["boolean", "null"]}, {True, False}),
        ({"$ref": "#/$defs/Kind"}, {"a", "b"}),
        ({"type": "null"}, {None}),
    ],
)
def test_choices_are_kept_to(schema, allowed):
    assert set(draws(schema, shared={"Kind": {"enum": ["a", "b"]}})) == allowed


def test_nested_values_are_drawn_too():
    schema = {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "object", "properties": {"x": {}}}}

    assert all(len(value) == 2 and set(value[0]) == {"x"} for value in draws(schema, 10))
