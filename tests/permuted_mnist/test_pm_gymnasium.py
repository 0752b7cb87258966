"""The challenge as a Gymnasium environment."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import permuted_mnist
from permuted_mnist.predictions import PredictionError


@pytest.fixture
def env() -> Any:
    return gymnasium.make(permuted_mnist.ENVIRONMENT_ID, render_mode="rgb_array")


@pytest.mark.slow
def test_gymnasiums_checker_has_nothing_to_say(env: Any) -> None:
    check_env(env.unwrapped)


def test_an_observation_holds_what_the_guide_says(env: Any) -> None:
    observation, info = env.reset(seed=1)
    train, test = (60_000, 10_000) if info["source"] == "cache" else (8_000, 2_000)

    shapes = {name: (value.shape, value.dtype) for name, value in observation.items()}
    assert shapes == {
        "train_images": ((train, 28, 28), np.float32),
        "train_labels": ((train,), np.int64),
        "test_images": ((test, 28, 28), np.float32),
    }
    assert env.observation_space.contains(observation)


def test_the_reward_is_the_share_of_labels_that_are_right_and_ends_the_episode(env: Any) -> None:
    observation, _ = env.reset(seed=1)
    guess = np.bincount(observation["train_labels"]).argmax()

    _, reward, terminated, truncated, info = env.step(np.full(len(observation["test_images"]), guess))

    assert 0.05 < reward < 0.2
    assert info["accuracy"] == reward
    assert (terminated, truncated) == (True, False)


def test_a_task_is_graded_once(env: Any) -> None:
    observation, _ = env.reset(seed=1)
    action = np.zeros(len(observation["test_images"]), np.int64)
    env.step(action)

    with pytest.raises(gymnasium.error.ResetNeeded):
        env.unwrapped.step(action)


def test_a_bad_action_is_refused_and_costs_nothing(env: Any) -> None:
    observation, _ = env.reset(seed=1)

    with pytest.raises(PredictionError):
        env.unwrapped.step([1, 2, 3])
    env.step(np.zeros(len(observation["test_images"]), np.int64))


def test_each_reset_draws_a_new_task_and_a_seed_repeats_them(env: Any) -> None:
    first, second = env.reset(seed=5)[0], env.reset()[0]
    again = env.reset(seed=5)[0]

    assert not np.array_equal(first["train_images"], second["train_images"])
    assert np.array_equal(first["train_images"], again["train_images"])


def test_it_draws_the_confusion_matrix(env: Any) -> None:
    observation, _ = env.reset(seed=1)
    before = env.render()
    env.step(np.zeros(len(observation["test_images"]), np.int64))
    after = env.render()

    assert (after.shape, after.dtype) == ((480, 480, 3), np.uint8)
    assert not np.array_equal(before, after)
