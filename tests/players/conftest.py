"""Fixtures of the tests of entrants."""

from collections.abc import Callable, Iterator

import pytest

from ml_trainer_env.in_process.forks import LocalSessions
from ml_trainer_env.in_process.training import Trainer, trainer
from ml_trainer_env.in_process.tuning import LocalSession
from ml_trainer_env.server.datasets import ExampleDraw, draw_examples
from ml_trainer_env.server.tuning.families.tasks import family_task
from ml_trainer_env.server.tuning.grading import RubricVersion

TASK = family_task("validation", 26)
"""The task of the cheapest epochs of the split: 10 of them take a tenth of a second."""


@pytest.fixture(scope="session")
def trained() -> Iterator[Trainer]:
    """Trains in this process."""
    with trainer(threads=1) as opened:
        yield opened


@pytest.fixture(scope="session")
def real_sessions(trained: Trainer) -> Callable[..., LocalSessions]:
    """Creates sessions of one small task, which train for real."""
    assert isinstance(TASK.examples, ExampleDraw)
    examples = draw_examples(TASK.examples)

    def create(seed: int = 7) -> LocalSessions:
        return LocalSessions(lambda: LocalSession(trained, TASK, examples, seed, RubricVersion.V3))

    return create
