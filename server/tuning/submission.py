"""Grades the model of a run by the rubric of its episode."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.tuning.grading import Grade, RubricVersion
from ml_trainer_env.server.tuning.reference import FLOOR, HiddenFigures, grade_by_accuracy, grade_by_reference
from ml_trainer_env.server.tuning.rules import Rules
from ml_trainer_env.server.tuning.run import Run
from ml_trainer_env.server.tuning.tasks import Task

__all__ = ["Submission", "grade_run"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Submission:
    """A graded model.

    Attributes:
        grade: The grade.
        measured: What was measured on held-out examples, by the names in the reply. A replay reads them there, so
            the grade is computed from rounded figures.
    """

    grade: Grade
    measured: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def test_accuracy(self) -> float | None:
        """Accuracy of the submitted model on the test examples. None if it was not measured."""
        return self.measured.get("test_accuracy", self.measured.get("submitted_accuracy"))


async def grade_run(run: Run, task: Task, rubric: RubricVersion, rules: Rules, name: str) -> Submission:
    """Measure and grade the model of a run. A model that was never trained gets the lowest score.

    Args:
        run: The run.
        task: Its task.
        rubric: The rubric.
        rules: The rules of the episode.
        name: Name of the episode, for logs.

    Raises:
        EpisodeError: The model could not be measured, and the grade needs it. Nothing is submitted.
    """
    if not run.has_model:
        lowest = FLOOR if rubric is RubricVersion.V3 else 0.0
        return Submission(Grade(lowest, {} if rubric.is_hidden else {"val_accuracy": 0.0}))
    if rubric.is_hidden:
        return await _grade_hidden(run, task, rubric)
    assert task.grader is not None
    accuracy = await _test_accuracy(run, task, name)
    history = run.history
    figures = history.figures if rules.grades_one_model else history.episode_figures
    return Submission(task.grader(figures(task.budget.epochs, accuracy), rubric), {"test_accuracy": accuracy})


async def _grade_hidden(run: Run, task: Task, rubric: RubricVersion) -> Submission:
    try:
        submitted, best = await run.hidden_figures()
    except (ExecutorError, TimeoutError) as error:
        raise _not_measured(error) from error
    if rubric is RubricVersion.V3:
        assert task.reference is not None
        grade = grade_by_reference(submitted, best, task.reference)
    else:
        grade = grade_by_accuracy(submitted, best)
    return Submission(grade, {**_fields("submitted", submitted), **_fields("best", best)})


async def _test_accuracy(run: Run, task: Task, name: str) -> float | None:
    """Measure the model on the test images. Returns None if that fails and the grade does not need it."""
    try:
        return await run.test_accuracy()
    except (ExecutorError, TimeoutError) as error:
        if task.graded_on_test:
            raise _not_measured(error) from error
        _LOG.warning("episode %s: no test accuracy: %s", name, error)
        return None


def _not_measured(error: Exception) -> EpisodeError:
    return EpisodeError(f"the model could not be measured on the test images: {error}; call submit_model again")


def _fields(prefix: str, hidden: HiddenFigures) -> dict[str, float]:
    return {f"{prefix}_accuracy": hidden.accuracy, f"{prefix}_loss": hidden.loss}
