"""A task's images under a permutation: the same images, standardised alike, at other places and under other names."""

import numpy as np
import pytest
import torch

from ml_trainer_env.server.datasets import Permutation
from ml_trainer_env.server.trainer.config import TrainingConfig
from ml_trainer_env.server.trainer.data import TensorData
from ml_trainer_env.server.trainer.engine import advance, initial_state
from ml_trainer_env.server.trainer.examples import Examples, PermutedExamples
from ml_trainer_env.server.trainer.schedules import LearningRatePlan, LrSchedule
from ml_trainer_env.server.trainer.state import FreshState, weights_hash

NETWORK = "batch_norm_mlp"
PARTS = ("train", "validation", "test")


@pytest.fixture
def permutation() -> Permutation:
    return Permutation.draw(np.random.default_rng(1))


def test_every_part_is_permuted_alike_and_standardised_as_before(
    images: dict[str, Examples], permutation: Permutation
) -> None:
    plain, permuted = TensorData(images[NETWORK]), TensorData(PermutedExamples(images[NETWORK], permutation))

    for part in PARTS:
        before, after = getattr(plain, f"{part}_inputs"), getattr(permuted, f"{part}_inputs")
        assert torch.equal(after.flatten(1), before.flatten(1)[:, list(permutation.pixels)])
        names = torch.tensor(permutation.classes)
        assert torch.equal(getattr(permuted, f"{part}_labels"), names[getattr(plain, f"{part}_labels")])


def test_training_on_another_permutation_ends_in_other_weights(
    images: dict[str, Examples], permutation: Permutation
) -> None:
    config, plan = TrainingConfig(batch_size=32), LearningRatePlan(LrSchedule.CONSTANT, 0.001, 0, 2)
    other = Permutation.draw(np.random.default_rng(2))

    def trained(chosen: Permutation) -> str:
        data = TensorData(PermutedExamples(images[NETWORK], chosen))
        return weights_hash(advance(initial_state(FreshState(NETWORK, 1)), config, plan, data)[0])

    assert trained(permutation) == trained(Permutation(permutation.pixels, permutation.classes))
    assert trained(permutation) != trained(other)


def test_running_statistics_are_part_of_the_state_and_follow_the_images(
    images: dict[str, Examples],
) -> None:
    config, plan = TrainingConfig(batch_size=32), LearningRatePlan(LrSchedule.CONSTANT, 1e-12, 0, 2)
    start = initial_state(FreshState(NETWORK, 1))

    after, _ = advance(start, config, plan, TensorData(images[NETWORK]))

    statistics = [name for name in start.weights if "running" in name]
    assert len(statistics) == 4
    assert all(not np.array_equal(after.weights[name], start.weights[name]) for name in statistics)
