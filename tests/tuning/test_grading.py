"""The grading formulas at their corners, at published examples, and under both rubrics."""

import math

import pytest

from ml_trainer_env.server.tuning.grading import Figures, Grade, RubricVersion
from ml_trainer_env.server.tuning.named_tasks import TASKS

LOW, HIGH = 0.0001, 0.9999


def grade(task: str, rubric: str = "v1", **figures: float) -> Grade:
    defaults: dict[str, float] = {
        "best_val_accuracy": 0.0,
        "overfitting_gap": 0.0,
        "wasted_epochs": 0,
        "budget_epochs": TASKS[task].budget_epochs,
        "loss_variance": 0.0,
        "test_accuracy": 0.0,
    }
    return TASKS[task].grader(Figures(**(defaults | figures)), RubricVersion(rubric))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("accuracy", "score"),
    [(0.0, LOW), (0.88, LOW), (0.9275, 0.5), (0.96, 0.8421), (0.975, HIGH), (1.0, HIGH)],
)
def test_easy_is_linear_in_the_best_accuracy(accuracy: float, score: float) -> None:
    assert grade("easy_mnist", best_val_accuracy=accuracy).score == score


@pytest.mark.parametrize(
    ("accuracy", "gap", "score"),
    [
        (0.75, 0.12, LOW),
        (0.90, 0.0, HIGH),
        (0.90, 0.12, 0.6),
        (0.75, 0.0, 0.4),
        (0.87, 0.05, 0.7133),
        (0.90, -0.3, HIGH),
        (0.825, 0.06, 0.5),
    ],
)
def test_medium_is_accuracy_and_generalisation(accuracy: float, gap: float, score: float) -> None:
    graded = grade("medium_fashion", best_val_accuracy=accuracy, overfitting_gap=gap)

    assert graded.score == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize(
    ("accuracy", "wasted", "variance", "score"),
    [
        (0.40, 60, 0.01, LOW),
        (0.68, 0, 0.0, HIGH),
        (0.40, 0, 0.0, 0.5),
        (0.54, 30, 0.005, 0.5),
        (0.65, 6, 0.001, 0.8964),
        (0.68, 60, 1.0, 0.5),
    ],
)
def test_hard_is_accuracy_efficiency_and_stability(accuracy: float, wasted: int, variance: float, score: float) -> None:
    graded = grade("hard_cifar", best_val_accuracy=accuracy, wasted_epochs=wasted, loss_variance=variance)

    assert graded.score == pytest.approx(score, abs=1.1e-4)


@pytest.mark.parametrize("rubric", ["v1", "v2"])
@pytest.mark.parametrize(
    ("accuracy", "score"),
    [
        (0.0, LOW),
        (0.90, LOW),
        (0.9425, 0.5),
        (0.98, 0.9412),
        (0.9849, 0.9988),
        (0.985, HIGH),
        (1.0, HIGH),
        (math.nan, LOW),
    ],
)
def test_permuted_is_linear_in_the_test_accuracy_under_both_rubrics(accuracy: float, score: float, rubric: str) -> None:
    graded = grade("permuted_mnist", rubric, test_accuracy=accuracy, best_val_accuracy=0.99, overfitting_gap=0.5)

    assert graded.score == score


def test_details_have_the_published_names_and_roundings() -> None:
    medium = grade("medium_fashion", best_val_accuracy=0.87123456, overfitting_gap=0.0512345)
    hard = grade("hard_cifar", best_val_accuracy=0.6512345, wasted_epochs=3, loss_variance=0.00123456789)

    assert medium.details == {
        "val_accuracy": 0.8712,
        "accuracy_score": 0.8082,
        "overfitting_gap": 0.0512,
        "generalization_score": 0.573,
    }
    assert hard.details == {
        "val_accuracy": 0.6512,
        "accuracy_score": 0.8973,
        "wasted_epochs": 3,
        "loss_variance": 0.001235,
        "efficiency_score": 0.95,
        "stability_score": 0.8765,
    }
    assert grade("easy_mnist", best_val_accuracy=0.95).details == {"val_accuracy": 0.95, "accuracy_score": 0.7368}
    assert grade("permuted_mnist", test_accuracy=0.98123).details == {"test_accuracy": 0.9812, "accuracy_score": 0.9556}


@pytest.mark.parametrize("task", TASKS)
def test_under_v2_nothing_is_earned_without_accuracy(task: str) -> None:
    assert grade(task, "v2", best_val_accuracy=0.1).score <= 0.0002


@pytest.mark.parametrize("task", TASKS)
def test_the_rubrics_agree_on_a_perfect_run(task: str) -> None:
    perfect = {"best_val_accuracy": 1.0, "test_accuracy": 1.0}

    assert grade(task, "v2", **perfect).score == pytest.approx(grade(task, **perfect).score, abs=2e-4)


def test_v2_multiplies_the_other_terms_by_the_accuracy_score() -> None:
    assert grade("medium_fashion", "v2", best_val_accuracy=0.825, overfitting_gap=0.06).score == 0.4
    assert grade("hard_cifar", "v2", best_val_accuracy=0.54, wasted_epochs=30, loss_variance=0.005).score == 0.375


def test_a_test_accuracy_that_was_not_measured_is_told_as_null() -> None:
    assert grade("permuted_mnist", test_accuracy=math.nan).details["test_accuracy"] is None


def test_losses_that_are_not_finite_are_worth_no_stability_and_are_told_as_null() -> None:
    graded = grade("hard_cifar", best_val_accuracy=0.54, loss_variance=math.inf)

    assert graded.details["stability_score"] == LOW
    assert graded.details["loss_variance"] is None
