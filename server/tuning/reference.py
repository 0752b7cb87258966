"""Rubric v3: the score of a model relative to two references that calibration measured on hidden examples.

    x = (m - m_default) / (m_oracle - m_default)        score = clamp(x, -0.25, 1)

`m` is the figure of the submitted model on hidden examples. A score of 0 is as good as deciding nothing:
as the settings that the episode begins with, left alone for the whole budget, or as its weights, handed in as they are.
A score of 1 is as good as the best that calibration found.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from ml_trainer_env.server.tuning.grading import Details, Grade

__all__ = ["FLOOR", "HiddenFigures", "Metric", "Reference", "grade_by_accuracy", "grade_by_reference", "score_at"]

FLOOR = -0.25
"""The lowest score of rubric v3. A model that was never trained gets it."""

_PLACES = 4


class Metric(StrEnum):
    """What `m` is. A higher `m` is better."""

    ACCURACY = "accuracy"
    """The accuracy, from 0 to 1."""
    LOSS = "loss"
    """Minus the mean loss, in nats."""


@dataclass(frozen=True, slots=True)
class HiddenFigures:
    """The figures of a model on hidden examples.

    Attributes:
        accuracy: The accuracy, from 0 to 1.
        loss: The mean loss, in nats.
    """

    accuracy: float
    loss: float


@dataclass(frozen=True, slots=True)
class Reference:
    """What calibration measured for a task.

    Attributes:
        default: `m` of the better one of two players that decide nothing: one leaves the settings alone, the other one
            the weights. Mean of three seeds.
        oracle: `m` of the model that was best by validation among all that calibration tried.
        deviation: Standard deviation of `m` between seeds.
        metric: What `m` is.
    """

    default: float
    oracle: float
    deviation: float
    metric: Metric = Metric.ACCURACY

    def value(self, hidden: HiddenFigures) -> float:
        """Return `m` of a model."""
        return hidden.accuracy if self.metric is Metric.ACCURACY else -hidden.loss

    def position(self, value: float) -> float:
        """Return `x` of `m`."""
        return (value - self.default) / (self.oracle - self.default)


def score_at(position: float) -> float:
    """Return the score of `x`. What is not a number gets the lowest one."""
    return FLOOR if math.isnan(position) else max(FLOOR, min(1.0, position))


def grade_by_reference(submitted: HiddenFigures, best: HiddenFigures, reference: Reference) -> Grade:
    """Grade a model by rubric v3.

    Args:
        submitted: The submitted model.
        best: The model of the best validation accuracy in its ancestry. It is told, not graded.
        reference: The references.
    """
    position = reference.position(reference.value(submitted))
    details: Details = {
        "x": _rounded(position),
        "submitted": _rounded(reference.value(submitted)),
        "best": _rounded(reference.value(best)),
        "default": _rounded(reference.default),
        "oracle": _rounded(reference.oracle),
    }
    return Grade(round(score_at(position), _PLACES), details)


def grade_by_accuracy(submitted: HiddenFigures, best: HiddenFigures) -> Grade:
    """Grade a model by the rubric `accuracy`: the score is its accuracy on hidden examples."""
    details: Details = {"submitted": _rounded(submitted.accuracy), "best": _rounded(best.accuracy)}
    return Grade(round(submitted.accuracy, _PLACES), details)


def _rounded(value: float) -> float | None:
    return round(value, _PLACES) if math.isfinite(value) else None
