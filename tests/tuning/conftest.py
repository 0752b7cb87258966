"""Episodes of drawn tasks that train for real, in this process."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from ml_trainer_env.in_process.training import Trainer, trainer
from ml_trainer_env.in_process.tuning import LocalSession
from ml_trainer_env.server.datasets import ExampleDraw, TaskExamples, draw_examples
from ml_trainer_env.server.trainer.changes import Change, ChangeKind
from ml_trainer_env.server.trainer.kinds import AugmentationKind
from ml_trainer_env.server.trainer.network_specs import NetworkSpec
from ml_trainer_env.server.trainer.starts import StartKind, StartSpec
from ml_trainer_env.server.tuning.families.instance import Instance
from ml_trainer_env.server.tuning.families.table import Row
from ml_trainer_env.server.tuning.families.tasks import task_of
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.reference import Reference

NewSession = Callable[..., LocalSession]


@pytest.fixture(scope="session")
def trainer_here() -> Iterator[Trainer]:
    with trainer(threads=1) as opened:
        yield opened


@pytest.fixture(scope="session")
def instance() -> Instance:
    """A small instance with a start, and with a change on the way."""
    classes = (4, 0, 2, 1)
    return Instance(
        examples=ExampleDraw("segment", classes, 240, 200, 300, label_noise=0.1, seed=3),
        network=NetworkSpec("mlp", (18,), len(classes), depth=2, width=32, examples="tables"),
        augmentation=AugmentationKind.SCATTERED,
        input_scale=0.5,
        budget=8,
        largest_batch=32,
        seed=11,
        start=StartSpec(StartKind.MEMORISED, 0.5, 1),
        change=Change(ChangeKind.DRIFT, 0.8, seed=11),
        change_after=3,
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
