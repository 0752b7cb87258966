"""Rewards: each part of both versions, and the laws that keep them from being farmed."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Begin = Callable[..., Any]
Epoch = Callable[..., Any]

accuracies = st.floats(0.0, 1.0).map(lambda x: round(x, 4))
losses = st.floats(0.01, 5.0) | st.sampled_from([math.inf, math.nan])


def test_progress_pays_three_tenths_of_the_gain_in_best_accuracy(begin: Begin, epoch: Epoch) -> None:
    play = begin(epoch(0.5), epoch(0.7), epoch(0.6), epoch(0.75))

    paid = [play.run(1)["reward_parts"]["progress"] for _ in range(4)]

    assert paid == pytest.approx([0.15, 0.06, 0.0, 0.015])


def test_v1_pays_for_a_call_that_leaves_a_lower_loss_than_the_call_before(begin: Begin, epoch: Epoch) -> None:
    play = begin(*(epoch(val_loss=loss) for loss in (1.0, 0.9, 0.95, 0.95, 0.5)))

    paid = [play.run(1)["reward_parts"]["convergence"] for _ in range(5)]

    assert paid == [0.0, 0.05, 0.0, 0.0, 0.05]


def test_divergence_costs_a_fifth_in_both_versions(begin: Begin, epoch: Epoch) -> None:
    for rubric in ("v1", "v2"):
        reply = begin(epoch(0.5), epoch(0.1, train_loss=math.nan), rubric=rubric).run(5)

        assert reply["reward_parts"]["divergence"] == -0.2


def test_v1_charges_a_call_for_the_gap_above_eight_points(begin: Begin, epoch: Epoch) -> None:
    play = begin(epoch(0.6, train_accuracy=0.68), epoch(0.6, train_accuracy=0.88))

    paid = [play.run(1)["reward_parts"]["overfitting"] for _ in range(2)]

    assert paid == pytest.approx([0.0, -0.05 * 0.2])


def test_submitting_adds_the_score_once(begin: Begin, epoch: Epoch) -> None:
    for rubric in ("v1", "v2"):
        play = begin(epoch(0.9275), rubric=rubric)
        play.run(1)

        reply = play.submit()

        assert reply["reward"] == reply["score"] == 0.5
        assert reply["reward_parts"]["submission"] == 0.5
        assert play.status()["reward"] == 0.0


def test_the_reward_is_the_sum_of_its_named_parts(begin: Begin, epoch: Epoch) -> None:
    for rubric in ("v1", "v2"):
        play = begin(epoch(0.5, 1.5), epoch(0.6, 1.2, train_accuracy=0.9), rubric=rubric)
        play.run(1)
        reply = play.run(1)

        assert reply["reward"] == pytest.approx(sum(reply["reward_parts"].values()))
        assert list(reply["reward_parts"]) == ["progress", "convergence", "divergence", "overfitting", "submission"]
        assert [name for name, _ in play.episode.reward.named_rubrics()] == list(reply["reward_parts"])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    figures=st.lists(st.tuples(accuracies, losses, accuracies), min_size=6, max_size=6),
    cuts=st.lists(st.integers(1, 6), min_size=6, max_size=6),
)
def test_v2_pays_the_same_total_however_the_epochs_were_cut(
    begin: Begin, epoch: Epoch, figures: list[tuple[float, float, float]], cuts: list[int]
) -> None:
    script = [epoch(val, loss, train) for val, loss, train in figures]

    def total(chunks: list[int]) -> float:
        play, paid = begin(*script, task="medium_fashion", rubric="v2"), 0.0
        for chunk in chunks:
            left = 6 - play.status()["current_epoch"]
            paid += play.run(min(chunk, left))["reward"] if left else 0.0
        return paid + float(play.submit()["reward"])

    whole = total([6])

    assert total([1] * 6) == pytest.approx(whole, abs=1e-9)
    assert total(cuts) == pytest.approx(whole, abs=1e-9)


def test_v1_pays_more_for_smaller_chunks_which_v2_does_not(begin: Begin, epoch: Epoch) -> None:
    script = [epoch(0.5, 1.0 - 0.1 * i) for i in range(6)]

    def total(rubric: str, chunk: int) -> float:
        play = begin(*script, rubric=rubric)
        return sum(float(play.run(chunk)["reward"]) for _ in range(6 // chunk))

    assert total("v1", 1) == pytest.approx(total("v1", 6) + 5 * 0.05)
    assert total("v2", 1) == pytest.approx(total("v2", 6))


@pytest.mark.parametrize(
    ("task", "v1", "v2"),
    [("easy_mnist", 0.0001, 0.0001), ("medium_fashion", 0.4, 0.0001), ("hard_cifar", 0.5, 0.0001)],
)
def test_what_a_one_epoch_submit_without_accuracy_earns(
    begin: Begin, epoch: Epoch, task: str, v1: float, v2: float
) -> None:
    for rubric, score in (("v1", v1), ("v2", v2)):
        play = begin(epoch(0.1, 2.3, 0.1), task=task, rubric=rubric)
        play.run(1)

        assert play.submit()["score"] == pytest.approx(score, abs=1.1e-4)
