"""The table of compared episodes, as a value."""

from typing import Any

from ml_trainer_env.server.room.compare import compare


def document(name: str, *rates: float, **facts: object) -> dict[str, Any]:
    replies = [{"configuration": {"learning_rate": rate, "dropout": 0.5}} for rate in rates]
    return {"episode": {"name": name, **facts}, "calls": [{"reply": reply} for reply in (*replies, None)]}


def cells(name: str, *documents: dict[str, Any]) -> tuple[tuple[str, ...], bool]:
    line = next(line for line in compare(documents).lines if line.name == name)
    return line.values, line.differs


def test_what_differs_is_marked() -> None:
    one, other = document("one", 0.1, task="t", score=0.5), document("other", 0.1, task="t", score=0.25)

    assert cells("task", one, other) == (("t", "t"), False)
    assert cells("score", one, other) == (("0.5", "0.25"), True)
    assert cells("learning rate", one, other) == (("0.1", "0.1"), False)


def test_a_setting_that_was_changed_on_the_way_differs_though_it_ends_the_same() -> None:
    values = (("0.1, then 0.3", "0.2, then 0.3"), True)

    assert cells("learning rate", document("one", 0.1, 0.1, 0.3), document("other", 0.2, 0.3)) == values


def test_of_many_values_the_first_and_the_last_ones_are_told() -> None:
    rates = [number / 10 for number in range(1, 8)]

    assert cells("learning rate", document("one", *rates)) == (("0.1, then 0.2, then ..., then 0.6, then 0.7",), False)


def test_a_setting_that_an_episode_does_not_tell_is_empty() -> None:
    assert cells("dropout", document("one", 0.1), document("silent")) == (("0.5", ""), True)
