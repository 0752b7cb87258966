"""The agents that come with the challenge keep its contract, and a bad agent is told what it does wrong."""

import functools
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from permuted_mnist.contract import RULES, ContractError, check_agent
from permuted_mnist.mnist import load_mnist
from permuted_mnist.tasks import draw_task

AGENTS = ("random", "linear", "mlp", "mlp_fast", "unscramble")
FLOORS = {"random": 0.05, "linear": 0.86, "mlp": 0.91, "mlp_fast": 0.94, "unscramble": 0.96}
"""Accuracy with the first 8,000 training images that an agent must reach."""


def agent_class(name: str) -> Any:
    """An agent's class; one that takes its time takes less of it here."""
    agent = import_module(f"permuted_mnist.agent.{name}.agent").Agent
    return functools.partial(agent, epochs=3) if name in ("mlp_fast", "unscramble") else agent


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_keeps_a_rule(name: str, rule: Any) -> None:
    rule(agent_class(name))


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_learns(name: str) -> None:
    task = draw_task(load_mnist(), seed=11, number=0)
    agent = agent_class(name)(seed=1)
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


def test_a_good_agent_passes() -> None:
    check_agent(Good)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (WithoutSeed, "does not take seed"),
        (WithTooFewPredictions, r"shape \(200,\)"),
        (WithScores, r"got \(200, 10\)"),
        (Unrepeatable, "should predict the same"),
        (Remembering, "as a new one of the same seed does"),
        (Meddling, "as they are"),
    ],
)
def test_a_bad_agent_is_told_what_it_does_wrong(bad: Any, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        check_agent(bad)
