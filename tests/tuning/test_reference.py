"""Laws of rubrics v3 and accuracy: the position between two references, its bounds, and the shaping."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.history import Snapshot
from ml_trainer_env.server.tuning.reference import (
    FLOOR,
    HiddenFigures,
    Metric,
    Reference,
    grade_by_accuracy,
    grade_by_reference,
)
from ml_trainer_env.server.tuning.rewards import SHAPING_WEIGHT, Transition, episode_reward

BY_ACCURACY = Reference(default=0.5, oracle=0.9, deviation=0.01)
BY_LOSS = Reference(default=-2.0, oracle=-1.0, deviation=0.02, metric=Metric.LOSS)
HIDDEN = [RubricVersion.V3, RubricVersion.ACCURACY]

shares = st.floats(0, 1)
losses = st.floats(0, 1e6)


def with_accuracy(accuracy: float) -> HiddenFigures:
    return HiddenFigures(accuracy, 1.0)


def with_loss(loss: float) -> HiddenFigures:
    return HiddenFigures(0.5, loss)


@pytest.mark.parametrize(
    ("accuracy", "x", "score"), [(0.5, 0.0, 0.0), (0.9, 1.0, 1.0), (0.7, 0.5, 0.5), (1.0, 1.25, 1.0), (0.1, -1, -0.25)]
)
def test_the_default_scores_0_and_the_oracle_1_and_x_is_told_uncapped(accuracy: float, x: float, score: float) -> None:
    grade = grade_by_reference(with_accuracy(accuracy), with_accuracy(0.95), BY_ACCURACY)

    assert grade.score == pytest.approx(score)
    assert grade.details == {
        "x": pytest.approx(x),
        "submitted": accuracy,
        "best": 0.95,
        "default": 0.5,
        "oracle": 0.9,
    }


@pytest.mark.parametrize(("loss", "score"), [(2.0, 0.0), (1.0, 1.0), (1.5, 0.5), (0.2, 1.0), (9.0, FLOOR)])
def test_a_lower_loss_scores_more_where_the_loss_is_measured(loss: float, score: float) -> None:
    grade = grade_by_reference(with_loss(loss), with_loss(loss), BY_LOSS)

    assert grade.score == pytest.approx(score)
    assert grade.details["submitted"] == -loss


@given(one=shares, other=shares)
def test_a_score_is_within_its_bounds_and_grows_with_the_accuracy(one: float, other: float) -> None:
    low, high = sorted((one, other))
    worse, better = (grade_by_reference(with_accuracy(x), with_accuracy(x), BY_ACCURACY).score for x in (low, high))

    assert FLOOR <= worse <= better <= 1


@given(one=losses, other=losses)
def test_a_score_is_within_its_bounds_and_falls_with_the_loss(one: float, other: float) -> None:
    low, high = sorted((one, other))
    better, worse = (grade_by_reference(with_loss(x), with_loss(x), BY_LOSS).score for x in (low, high))

    assert FLOOR <= worse <= better <= 1


@given(accuracy=shares, loss=losses, best=shares)
def test_only_the_metric_of_the_submitted_model_counts(accuracy: float, loss: float, best: float) -> None:
    submitted = HiddenFigures(accuracy, loss)

    assert grade_by_reference(submitted, with_accuracy(best), BY_ACCURACY).score == (
        grade_by_reference(with_accuracy(accuracy), with_accuracy(0.0), BY_ACCURACY).score
    )
    assert grade_by_reference(submitted, with_loss(best), BY_LOSS).score == (
        grade_by_reference(with_loss(loss), with_loss(0.0), BY_LOSS).score
    )


def test_figures_that_are_no_numbers_get_the_floor_and_are_told_as_null() -> None:
    grade = grade_by_reference(with_accuracy(math.nan), with_accuracy(0.5), BY_ACCURACY)

    assert grade.score == FLOOR
    assert (grade.details["x"], grade.details["submitted"]) == (None, None)


@given(accuracy=shares, best=shares)
def test_by_accuracy_the_score_is_the_accuracy(accuracy: float, best: float) -> None:
    grade = grade_by_accuracy(with_accuracy(accuracy), with_accuracy(best))

    assert grade.score == round(accuracy, 4)
    assert grade.details == {"submitted": round(accuracy, 4), "best": round(best, 4)}


# Rewards.


@pytest.mark.parametrize("rubric", HIDDEN)
@given(accuracies=st.lists(shares, min_size=1, max_size=8), cuts=st.sets(st.integers(1, 8)), score=st.floats(FLOOR, 1))
def test_shaping_sums_to_a_twentieth_of_the_best_accuracy_however_the_epochs_are_split(
    rubric: RubricVersion, accuracies: list[float], cuts: set[int], score: float
) -> None:
    def after(epochs: int) -> Snapshot:
        return Snapshot(epochs, max(accuracies[:epochs], default=0.0), gap=0.9, divergences=epochs // 2)

    total = len(accuracies)
    ends = sorted({0, total} | {cut for cut in cuts if cut < total})
    reward = episode_reward(rubric)
    paid = [reward(None, Transition(after(first), after(last))) for first, last in pairwise(ends)]
    submitted = reward(None, Transition(after(total), after(total), score=score))

    assert sum(paid) == pytest.approx(SHAPING_WEIGHT * max(accuracies), abs=1e-5)
    assert submitted == pytest.approx(score, abs=1e-6)
    assert min(paid) >= 0
    assert set(reward.parts()) == {"progress", "submission"}
