"""The contract of agents, checked on a small task. Use it to test your own agent.

    from permuted_mnist.contract import check_agent
    check_agent(Agent)

Each rule is a function that raises `ContractError`. A rule only uses the methods of an agent. So the same rules apply
to an agent in this process and to one in the sandbox (`permuted-mnist check`).
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ml_trainer_env.server.datasets import Source, bundled_mnist
from permuted_mnist.delivery import Delivery
from permuted_mnist.mnist import Mnist
from permuted_mnist.predictions import PredictionError, accuracy, as_labels
from permuted_mnist.sandbox.inside.loading import make_agent
from permuted_mnist.tasks import CLASSES, PermutedTask, draw_task

__all__ = ["ADVICE", "AgentLike", "ContractError", "MakeAgent", "Rule", "check_agent", "learned"]

TRAIN_SIZE, TEST_SIZE = 1000, 200

Array = npt.NDArray[Any]


class ContractError(AssertionError):
    """An agent breaks a rule. The message contains the rule, what was expected and what came."""


class AgentLike(Protocol):
    """The methods of an agent. It may also have `reset()`, which deletes everything it has learned."""

    def train(self, X_train: Array, y_train: Array) -> Any:
        """Learn from images (N, 28, 28) and labels, in either `Delivery`."""

    def predict(self, X_test: Array) -> Any:
        """Predict a label for each image. The result is (M,) or (M, 1)."""
        ...


MakeAgent = Callable[[int], AgentLike]
"""Creates an agent with this seed."""

Rule = Callable[[MakeAgent, Delivery], None]
"""Raises `ContractError` if agents break the rule with this delivery."""


def check_agent(agent: Callable[..., AgentLike]) -> None:
    """Check every rule with both deliveries.

    Args:
        agent: The class `Agent`. It is called with `output_dim` and `seed` if it accepts them.

    Raises:
        ContractError: The agent breaks a rule or raised an exception. The exception is the cause of the error.
    """

    def make(seed: int) -> AgentLike:
        return make_agent(agent, {"output_dim": CLASSES, "seed": seed})  # type: ignore[arg-type, no-any-return]

    for delivery in Delivery:
        for rule in (learned, *ADVICE):
            try:
                rule(make, delivery)
            except (ContractError, KeyboardInterrupt):
                raise
            except BaseException as error:  # SystemExit breaks the contract, too
                words = f"{_name(rule)}, with the {delivery}'s delivery: {type(error).__name__}: {error}"
                raise ContractError(words) from error


def learned(make: MakeAgent, delivery: Delivery) -> float:
    """Check that predictions are labels, for 200, 1 and 7 images. Returns the accuracy on the 200 images."""
    task = _task(1)
    agent = _trained(make, task, delivery)
    right = accuracy(_labels(agent, task, delivery), task.test_labels)
    for count in (1, 7):
        _labels(agent, task, delivery, count)
    return right


def repeats_itself_with_a_seed(make: MakeAgent, delivery: Delivery) -> None:
    """Check that two agents with the same seed give the same predictions."""
    task = _task(2)
    _require(
        np.array_equal(_predictions(make, task, delivery), _predictions(make, task, delivery)),
        "two agents with the same seed, trained alike, should predict the same",
    )


def forgets_when_it_is_reset(make: MakeAgent, delivery: Delivery) -> None:
    """Check that an agent that is reset after a task predicts the same as a new agent."""
    first, second = _task(3), _task(4)
    used = _trained(make, first, delivery)
    _labels(used, first, delivery)
    _train(used, second, delivery)
    _require(
        np.array_equal(_labels(used, second, delivery), _predictions(make, second, delivery)),
        "after reset and train an agent should predict as a new one of the same seed does",
    )


def leaves_what_it_is_given_as_it_is(make: MakeAgent, delivery: Delivery) -> None:
    """Check that the agent does not modify its inputs. They are read-only arrays."""
    task = _task(5)
    images, labels = delivery.images(task.train_images).copy(), delivery.labels(task.train_labels).copy()
    tested = delivery.images(task.test_images).copy()
    for array in (images, labels, tested):
        array.setflags(write=False)
    agent = make(1)
    _reset(agent)
    try:
        agent.train(images, labels)
        agent.predict(tested)
    except Exception as error:  # NumPy's ValueError, or an error that the agent raises from it
        _predictions(make, task, delivery)  # if the agent also fails with writable arrays, it breaks another rule
        raise ContractError(f"an agent should leave the arrays that it is given as they are: {error}") from error


ADVICE: tuple[Rule, ...] = (
    repeats_itself_with_a_seed,
    forgets_when_it_is_reset,
    leaves_what_it_is_given_as_it_is,
)
"""Recommended rules. Evaluations do not depend on them, because each task has a new process."""


def _task(number: int) -> PermutedTask:
    images, labels = bundled_mnist()
    train, test = slice(TRAIN_SIZE), slice(TRAIN_SIZE, TRAIN_SIZE + TEST_SIZE)
    small = Mnist(images[train], labels[train], images[test], labels[test], Source.BUNDLED)
    return draw_task(small, seed=0, number=number)


def _trained(make: MakeAgent, task: PermutedTask, delivery: Delivery) -> AgentLike:
    agent = make(1)
    _train(agent, task, delivery)
    return agent


def _train(agent: AgentLike, task: PermutedTask, delivery: Delivery) -> None:
    _reset(agent)
    agent.train(delivery.images(task.train_images), delivery.labels(task.train_labels))


def _reset(agent: AgentLike) -> None:
    getattr(agent, "reset", lambda: None)()


def _labels(agent: AgentLike, task: PermutedTask, delivery: Delivery, count: int = TEST_SIZE) -> Array:
    try:
        return as_labels(agent.predict(delivery.images(task.test_images[:count])), count)
    except PredictionError as error:
        raise ContractError(f"predict was given {count} images: {error}") from error


def _predictions(make: MakeAgent, task: PermutedTask, delivery: Delivery) -> Array:
    return _labels(_trained(make, task, delivery), task, delivery)


def _require(holds: bool, words: str) -> None:
    if not holds:
        raise ContractError(words)


def _name(rule: Any) -> str:
    return str(rule.__name__).replace("_", " ")
