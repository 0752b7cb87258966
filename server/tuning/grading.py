"""Grades: pure functions that compute a score between 0 and 1 from a run's figures."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "Details",
    "Figures",
    "Grade",
    "Grader",
    "RubricVersion",
    "clamp",
    "grade_accuracy",
    "grade_efficiency",
    "grade_generalization",
    "grade_test_accuracy",
]

Details = dict[str, float | int | None]
"""The figures of a grade by name. A figure that is not finite is None."""

GAP_LIMIT = 0.12
"""Overfitting gap at which the generalisation score is 0."""

VARIANCE_LIMIT = 0.01
"""Variance of the validation losses at which the stability score is 0."""


class RubricVersion(StrEnum):
    """The version of the formulas that grade and reward an episode."""

    V1 = "v1"
    """The published formulas. Generalisation, efficiency and stability are independent terms."""
    V2 = "v2"
    """These terms are multiplied by the accuracy score."""
    V3 = "v3"
    """The submitted model on hidden examples, relative to calibrated references; see `reference`."""
    ACCURACY = "accuracy"
    """The accuracy of the submitted model on hidden examples, for tasks that were not calibrated."""

    @property
    def is_hidden(self) -> bool:
        """Whether the score is that of the model as it stands, on hidden examples."""
        return self in {RubricVersion.V3, RubricVersion.ACCURACY}


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures that a grade is computed from.

    Attributes:
        best_val_accuracy: Validation accuracy of the graded model.
        overfitting_gap: Train accuracy minus validation accuracy of the graded model.
        wasted_epochs: Number of epochs since the episode first reached that validation accuracy.
        budget_epochs: The episode's budget, in epochs.
        loss_variance: Population variance of the 10 validation losses up to the graded epoch.
        test_accuracy: Accuracy of the submitted model on held-out images. NaN if it was not measured.
    """

    best_val_accuracy: float
    overfitting_gap: float
    wasted_epochs: int
    budget_epochs: int
    loss_variance: float
    test_accuracy: float = math.nan


@dataclass(frozen=True, slots=True)
class Grade:
    """A score, rounded to 4 places, and the figures that explain it."""

    score: float
    details: Details


Grader = Callable[[Figures, RubricVersion], Grade]


def clamp(value: float) -> float:
    """Limit `value` to [0.0001, 0.9999]. NaN gives 0.0001."""
    return 0.0001 if math.isnan(value) else max(0.0001, min(0.9999, value))


def grade_accuracy(low: float, high: float) -> Grader:
    """Return a grader that is linear in the best validation accuracy: 0 at `low`, 1 at `high`."""

    def grade(figures: Figures, rubric: RubricVersion) -> Grade:  # noqa: ARG001  # no other terms
        accuracy = _accuracy_score(figures, low, high)
        return Grade(_rounded(accuracy), _accuracy_details(figures, accuracy))

    return grade


def grade_generalization(low: float, high: float) -> Grader:
    """Return a grader of 60 % accuracy and 40 % generalisation."""

    def grade(figures: Figures, rubric: RubricVersion) -> Grade:
        accuracy = _accuracy_score(figures, low, high)
        generalization = clamp(1.0 - figures.overfitting_gap / GAP_LIMIT)
        earned = _earned(generalization, accuracy, rubric)
        details = _accuracy_details(figures, accuracy) | {
            "overfitting_gap": _finite(figures.overfitting_gap, 4),
            "generalization_score": _rounded(generalization),
        }
        return Grade(_rounded(0.6 * accuracy + 0.4 * earned), details)

    return grade


def grade_efficiency(low: float, high: float) -> Grader:
    """Return a grader of 50 % accuracy, 30 % efficiency and 20 % stability."""

    def grade(figures: Figures, rubric: RubricVersion) -> Grade:
        accuracy = _accuracy_score(figures, low, high)
        efficiency = clamp(1.0 - figures.wasted_epochs / figures.budget_epochs)
        stability = clamp(1.0 - figures.loss_variance / VARIANCE_LIMIT)
        earned = _earned(0.3 * efficiency + 0.2 * stability, accuracy, rubric)
        details = _accuracy_details(figures, accuracy) | {
            "wasted_epochs": figures.wasted_epochs,
            "loss_variance": _finite(figures.loss_variance, 6),
            "efficiency_score": _rounded(efficiency),
            "stability_score": _rounded(stability),
        }
        return Grade(_rounded(0.5 * accuracy + earned), details)

    return grade


def grade_test_accuracy(low: float, high: float) -> Grader:
    """Return a grader that is linear in the submitted model's test accuracy: 0 at `low`, 1 at `high`.

    A model that was not measured gets the lowest score.
    """

    def grade(figures: Figures, rubric: RubricVersion) -> Grade:  # noqa: ARG001  # no other terms
        score = _rounded(clamp((figures.test_accuracy - low) / (high - low)))
        return Grade(score, {"test_accuracy": _finite(figures.test_accuracy, 4), "accuracy_score": score})

    return grade


def _accuracy_score(figures: Figures, low: float, high: float) -> float:
    return clamp((figures.best_val_accuracy - low) / (high - low))


def _earned(term: float, accuracy: float, rubric: RubricVersion) -> float:
    return term * accuracy if rubric is RubricVersion.V2 else term


def _accuracy_details(figures: Figures, accuracy: float) -> Details:
    return {
        "val_accuracy": _rounded(figures.best_val_accuracy),
        "accuracy_score": _rounded(accuracy),
    }


def _rounded(value: float) -> float:
    return round(value, 4)


def _finite(value: float, places: int) -> float | None:
    return round(value, places) if math.isfinite(value) else None
