"""A tiny instance, and a trainer in this process."""

from collections.abc import Iterator
from itertools import count

import pytest

from ml_trainer_env.in_process.training import Trainer, trainer
from ml_trainer_env.server.datasets import ExampleDraw, fit_sizes
from ml_trainer_env.server.trainer.kinds import AugmentationKind
from ml_trainer_env.server.trainer.network_specs import NetworkSpec
from ml_trainer_env.server.tuning.families.draw import draw_instance
from ml_trainer_env.server.tuning.families.instance import Instance


@pytest.fixture(scope="session")
def trainer_here() -> Iterator[Trainer]:
    with trainer(threads=1) as opened:
        yield opened


@pytest.fixture(scope="session")
def tiny() -> Instance:
    """Two epochs of a perceptron on a table, with headroom: its inputs and weights are scaled badly."""
    classes = (0, 1, 2, 3, 4)
    sizes = fit_sizes("segment", classes, 200, 200, 300)
    return Instance(
        examples=ExampleDraw("segment", classes, *sizes, label_noise=0.1, seed=3),
        network=NetworkSpec("mlp", (18,), len(classes), depth=2, width=32, initial_scale=0.5, examples="tables"),
        augmentation=AugmentationKind.SCATTERED,
        input_scale=0.2,
        budget=2,
        largest_batch=32,
        seed=11,
    )


@pytest.fixture(scope="session")
def drawn() -> list[Instance]:
    """Twenty drawn instances, of which nothing is trained."""
    return [draw_instance("train", number) for number, _ in zip(count(), range(20), strict=False)]
