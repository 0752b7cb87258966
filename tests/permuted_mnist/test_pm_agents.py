"""The agents that come with the challenge keep its contract, and a bad agent is told what it does wrong."""

import functools
import sys
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from permuted_mnist.contract import ADVICE, ContractError, check_agent, learned
from permuted_mnist.delivery import Delivery
from permuted_mnist.mnist import load_mnist
from permuted_mnist.tasks import draw_task

AGENTS = (
    "random",
    "linear",
    pytest.param("mlp", marks=pytest.mark.slow),
    pytest.param("mlp_fast", marks=pytest.mark.slow),
    pytest.param("unscramble", marks=pytest.mark.slow),
)
FLOORS = {"random": 0.05, "linear": 0.86, "mlp": 0.91, "mlp_fast": 0.94, "unscramble": 0.96}
"""Accuracy with the first 8,000 training images that an agent must reach."""


def agent_class(name: str, epochs: int) -> Any:
    """An agent's class. Agents that train for many epochs train for `epochs` here."""
    agent = import_module(f"permuted_mnist.agent.{name}.agent").Agent
    return functools.partial(agent, epochs=epochs) if name in ("mlp_fast", "unscramble") else agent


def of_seed(name: str) -> Any:
    return lambda seed: agent_class(name, epochs=1)(seed=seed)


@pytest.mark.parametrize("rule", ADVICE, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_keeps_a_rule(name: str, rule: Any) -> None:
    rule(of_seed(name), Delivery.COMPETITION)


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_learns_the_same_from_both_deliveries(name: str) -> None:
    accuracies = {learned(of_seed(name), delivery) for delivery in Delivery}

    assert len(accuracies) == 1
    assert accuracies.pop() > (0.02 if name == "random" else 0.7)


@pytest.mark.parametrize(
    "name",
    ["random", "linear", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mlp", "mlp_fast", "unscramble"))],
)
def test_an_agent_learns(name: str) -> None:
    task = draw_task(load_mnist(), seed=11, number=0)
    agent = agent_class(name, epochs=3)(seed=1)
    agent.train(task.train_images[:8000], task.train_labels[:8000])

    assert (agent.predict(task.test_images) == task.test_labels).mean() > FLOORS[name]


class Good:
    """The most frequent label, always."""

    def __init__(self, output_dim: int = 10, seed: int | None = None) -> None:
        self.reset()

    def reset(self) -> None:
        self.label = 0

    def train(self, X_train: Any, y_train: Any) -> None:
        self.label = int(np.bincount(np.asarray(y_train).ravel()).argmax())

    def predict(self, X_test: Any) -> Any:
        return [self.label] * len(X_test)


class WithoutSeed(Good):
    def __init__(self, output_dim: int = 10) -> None:
        super().__init__()


class WithoutReset:
    def train(self, X_train: Any, y_train: Any) -> None:
        self.label = int(np.asarray(y_train).ravel()[0])

    def predict(self, X_test: Any) -> Any:
        return np.full((len(X_test), 1), self.label)


class Leaving(Good):
    def train(self, X_train: Any, y_train: Any) -> None:
        sys.exit(0)


class Raising(Good):
    def predict(self, X_test: Any) -> Any:
        raise RuntimeError("its own words")


class WithTooFewPredictions(Good):
    def predict(self, X_test: Any) -> Any:
        return [self.label] * 10


class WithScores(Good):
    def predict(self, X_test: Any) -> Any:
        return np.zeros((len(X_test), 10))


class Unrepeatable(Good):
    def predict(self, X_test: Any) -> Any:
        return np.random.default_rng().integers(0, 10, len(X_test))


class Remembering(Good):
    seen = 0

    def train(self, X_train: Any, y_train: Any) -> None:
        self.seen += 1
        self.label = self.seen % 10

    def reset(self) -> None:
        """Forgets to forget."""


class Meddling(Good):
    def train(self, X_train: Any, y_train: Any) -> None:
        X_train *= 2


@pytest.mark.parametrize("good", [Good, WithoutSeed, WithoutReset])
def test_a_good_agent_passes(good: Any) -> None:
    check_agent(good)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (WithTooFewPredictions, r"shape \(200,\)"),
        (WithScores, r"got \(200, 10\)"),
        (Unrepeatable, "should predict the same"),
        (Remembering, "as a new one of the same seed does"),
        (Meddling, "as they are"),
        (Leaving, "SystemExit: 0"),
        (Raising, "RuntimeError: its own words"),
    ],
)
def test_a_bad_agent_is_told_what_it_does_wrong(bad: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        check_agent(bad)
