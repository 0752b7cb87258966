"""Episodes of drawn tasks that train for real, in this process."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from ml_trainer_env.calibration.local_session import LocalSession, Trainer, trainer
from ml_trainer_env.server.datasets import ExampleKind, TaskExamples, draw_examples
from ml_trainer_env.server.trainer.changes import Change, ChangeKind
from ml_trainer_env.server.trainer.kinds import NetworkKind
from ml_trainer_env.server.trainer.starts import StartKind, StartSpec
from ml_trainer_env.server.tuning.families.draw import draw_instance
from ml_trainer_env.server.tuning.families.instance import Instance
from ml_trainer_env.server.tuning.families.table import Row
from ml_trainer_env.server.tuning.families.tasks import task_of
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.reference import Reference

BUDGET, CHANGE_AFTER, LARGEST_BATCH = 8, 3, 32

NewSession = Callable[..., LocalSession]


@pytest.fixture(scope="session")
def trainer_here() -> Iterator[Trainer]:
    with trainer(threads=1) as opened:
        yield opened


@pytest.fixture(scope="session")
def instance() -> Instance:
    """A small drawn instance with a start, and with a change on the way."""
    drawn = next(one for one in (draw_instance("train", number) for number in count()) if _is_small(one))
    return replace(
        drawn,
        budget=BUDGET,
        largest_batch=LARGEST_BATCH,
        start=StartSpec(StartKind.MEMORISED, 0.5, 1),
        change=Change(ChangeKind.DRIFT, 0.8, seed=11),
        change_after=CHANGE_AFTER,
    )


@pytest.fixture(scope="session")
def examples(instance: Instance) -> TaskExamples:
    return draw_examples(instance.examples)


@pytest.fixture
def new_session(trainer_here: Trainer, instance: Instance, examples: TaskExamples) -> NewSession:
    """Begins an episode of the instance, or of one with other fields."""

    def new(rubric: RubricVersion = RubricVersion.ACCURACY, seed: int = 5, **changes: Any) -> LocalSession:
        other = replace(instance, **changes)
        row = Row(0, other, Reference(0.4, 0.8, 0.01, other.metric), 1, 1.0, "c", "i")
        task = task_of(other, "train", 0, row if rubric is RubricVersion.V3 else None)
        return LocalSession(trainer_here, task, examples, seed, rubric)

    return new


def _is_small(instance: Instance) -> bool:
    return (
        instance.collection.kind is ExampleKind.TABLES
        and instance.network.kind is NetworkKind.MLP
        and instance.network.depth <= 3
        and instance.examples.train_size <= 400
    )
