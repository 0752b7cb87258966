"""What every agent of the challenge must do, checked on a small task: for agents of your own, too.

    from permuted_mnist.contract import check_agent
    check_agent(Agent)

Each rule is a function that raises `ContractError`. Nothing is run under limits here.
"""

import inspect
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from permuted_mnist.mnist import Mnist, load_mnist
from permuted_mnist.predictions import PredictionError, as_labels
from permuted_mnist.tasks import CLASSES, PermutedTask, draw_task

__all__ = ["RULES", "AgentLike", "ContractError", "check_agent"]

TRAIN_SIZE, TEST_SIZE = 600, 200

Array = npt.NDArray[Any]


class ContractError(AssertionError):
    """An agent breaks a rule. The message says which, what was expected and what came."""


class AgentLike(Protocol):
    """What an agent must have."""

    def reset(self) -> None:
        """Forget everything; a new task begins."""

    def train(self, X_train: Array, y_train: Array) -> Any:
        """Learn from images (N, 28, 28) in [0, 1] and labels (N,) or (N, 1)."""

    def predict(self, X_test: Array) -> Any:
        """A label for each image, (M,) or (M, 1)."""
        ...


MakeAgent = Callable[..., AgentLike]


def check_agent(make: MakeAgent) -> None:
    """Check every rule.

    Args:
        make: The class `Agent`: called with `output_dim` and `seed`.

    Raises:
        ContractError: A rule is broken.
    """
    for rule in RULES:
        rule(make)


def takes_output_dim_and_seed(make: MakeAgent) -> None:
    """`Agent(output_dim=10, seed=None)` and `Agent()` both work."""
    parameters = inspect.signature(make).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    missing = [name for name in ("output_dim", "seed") if name not in parameters and not takes_any]
    _require(not missing, f"Agent should take output_dim and seed, and does not take {', '.join(missing)}")
    make()
    make(output_dim=CLASSES, seed=1)


def predicts_a_label_for_each_image(make: MakeAgent) -> None:
    """Predictions are 200 whole numbers from 0 to 9, also for another number of images than it was trained on."""
    task = _task(1)
    agent = _trained(make, task)
    for count in (TEST_SIZE, 1, 7):
        try:
            as_labels(agent.predict(task.test_images[:count]), count)
        except PredictionError as error:
            raise ContractError(f"predict was given {count} images: {error}") from error


def takes_labels_as_a_column(make: MakeAgent) -> None:
    """Labels of the shape (N, 1) mean the same as those of the shape (N,)."""
    task = _task(2)
    column = _predictions(make, task, labels=task.train_labels[:, None])
    _require(np.array_equal(column, _predictions(make, task)), "labels (N, 1) should mean the same as labels (N,)")


def repeats_itself_with_a_seed(make: MakeAgent) -> None:
    """Two agents with the same seed predict the same."""
    task = _task(3)
    _require(
        np.array_equal(_predictions(make, task), _predictions(make, task)),
        "two agents with the same seed, trained alike, should predict the same",
    )


def forgets_when_it_is_reset(make: MakeAgent) -> None:
    """After a reset nothing of the task before it is left: an agent that had one predicts as a new one does."""
    first, second = _task(4), _task(5)
    used = _trained(make, first)
    used.predict(first.test_images)
    used.reset()
    used.train(second.train_images, second.train_labels)
    again = as_labels(used.predict(second.test_images), TEST_SIZE)
    _require(
        np.array_equal(again, _predictions(make, second)),
        "after reset and train an agent should predict as a new one of the same seed does",
    )


def leaves_what_it_is_given_as_it_is(make: MakeAgent) -> None:
    """Images and labels are not changed: they are handed over read-only."""
    task = _task(6)
    given = [array.copy() for array in (task.train_images, task.train_labels, task.test_images)]
    for array in given:
        array.setflags(write=False)
    agent = make(output_dim=CLASSES, seed=1)
    agent.reset()
    try:
        agent.train(given[0], given[1])
        agent.predict(given[2])
    except ValueError as error:
        raise ContractError(f"an agent should leave the arrays that it is given as they are: {error}") from error


RULES: tuple[Callable[[MakeAgent], None], ...] = (
    takes_output_dim_and_seed,
    predicts_a_label_for_each_image,
    repeats_itself_with_a_seed,
    takes_labels_as_a_column,
    forgets_when_it_is_reset,
    leaves_what_it_is_given_as_it_is,
)


def _task(number: int) -> PermutedTask:
    full = load_mnist()
    small = Mnist(
        full.train_images[:TRAIN_SIZE],
        full.train_labels[:TRAIN_SIZE],
        full.test_images[:TEST_SIZE],
        full.test_labels[:TEST_SIZE],
        full.source,
    )
    return draw_task(small, seed=0, number=number)


def _trained(make: MakeAgent, task: PermutedTask, labels: Array | None = None) -> AgentLike:
    agent = make(output_dim=CLASSES, seed=1)
    agent.reset()
    agent.train(task.train_images, task.train_labels if labels is None else labels)
    return agent


def _predictions(make: MakeAgent, task: PermutedTask, labels: Array | None = None) -> Array:
    return as_labels(_trained(make, task, labels).predict(task.test_images), TEST_SIZE)


def _require(holds: bool, words: str) -> None:
    if not holds:
        raise ContractError(words)
