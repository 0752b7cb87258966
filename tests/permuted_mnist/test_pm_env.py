"""The competition's own interface, as its guide writes it."""

import ast
from pathlib import Path

import numpy as np
import pytest

import permuted_mnist
from permuted_mnist.agent.linear.agent import Agent as LinearAgent
from permuted_mnist.env.permuted_mnist import PermutedMNISTEnv
from permuted_mnist.predictions import PredictionError

PACKAGE = Path(permuted_mnist.__file__).parent


def test_the_loop_of_the_guide_runs_as_it_stands_there() -> None:
    env = PermutedMNISTEnv(number_episodes=2)
    env.set_seed(42)
    agent = LinearAgent(input_dim=784, output_dim=10, learning_rate=0.01)
    accuracies = []
    while (task := env.get_next_task()) is not None:
        agent.reset()
        agent.train(task["X_train"], task["y_train"])
        accuracies.append(env.evaluate(agent.predict(task["X_test"]), task["y_test"]))

    assert len(accuracies) == 2
    assert all(accuracy > 0.85 for accuracy in accuracies)


def test_the_same_seed_gives_the_same_tasks_and_another_gives_others() -> None:
    env, other = PermutedMNISTEnv(number_episodes=2), PermutedMNISTEnv(number_episodes=1)
    env.set_seed(1)
    first = env.get_next_task()
    second = env.get_next_task()
    assert first is not None
    assert second is not None

    env.set_seed(1)
    again = env.get_next_task()
    other.set_seed(2)
    elsewhere = other.get_next_task()

    assert again is not None
    assert elsewhere is not None
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["X_train"], second["X_train"])
    assert not np.array_equal(first["X_train"], elsewhere["X_train"])


def test_without_a_seed_tasks_cannot_be_foreseen() -> None:
    tasks = [PermutedMNISTEnv(number_episodes=1).get_next_task() for _ in range(2)]

    assert tasks[0] is not None
    assert tasks[1] is not None
    assert not np.array_equal(tasks[0]["X_test"], tasks[1]["X_test"])


def test_there_are_as_many_tasks_as_episodes() -> None:
    env = PermutedMNISTEnv(number_episodes=1)

    assert env.get_next_task() is not None
    assert env.get_next_task() is None
    env.reset()
    assert env.get_next_task() is not None


@pytest.mark.parametrize("shape", ["array", "column", "list", "floats"])
def test_labels_are_taken_in_any_form(shape: str) -> None:
    labels = np.arange(30) % 10
    forms = {"array": labels, "column": labels[:, None], "list": labels.tolist(), "floats": labels.astype(float)}
    env = PermutedMNISTEnv()

    assert env.evaluate(forms[shape], labels) == 1.0
    assert env.evaluate(labels, forms[shape]) == 1.0
    assert env.evaluate(np.roll(labels, 1), forms[shape]) == 0.0


@pytest.mark.parametrize(
    ("predictions", "words"),
    [
        ([1, 2], r"shape \(3,\) or \(3, 1\), got \(2,\)"),
        ([[1, 2, 3]], r"got \(1, 3\)"),
        ([1, 2, 10], "from 0 to 9, got 10"),
        ([1, 2, -1], "got -1"),
        ([1, 2, 0.5], "got 0.5"),
        ([1, 2, float("nan")], "got nan"),
        ([1, 2, None], "of type object"),
        (["1", "2", "3"], "of type <U1"),
        ([1, [2], 3], r"shape \(3,\) or \(3, 1\), got a list of 3 items of different lengths"),
        (None, r"or \(3, 1\), got None"),
        ({"predictions": [1, 2, 3]}, "got a dict with the keys 'predictions'"),
        ({1, 2, 3}, "got a value of type set"),
        ([True, False, True], "of type bool"),
    ],
)
def test_predictions_that_are_none_are_refused_in_words(predictions: object, words: str) -> None:
    with pytest.raises(PredictionError, match=words):
        PermutedMNISTEnv().evaluate(predictions, [1, 2, 3])


def test_the_environment_needs_no_torch() -> None:
    for name in ("mnist", "tasks", "predictions", "hardening", "env/permuted_mnist", "env/confusion"):
        tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
        imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {module for module in imported if module.startswith("torch")}
