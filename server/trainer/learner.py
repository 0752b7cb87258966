"""The interface of what trains and evaluates a network, which torch and the native kernels implement."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from ml_trainer_env.server.trainer.diagnostics import measured_steps
from ml_trainer_env.server.trainer.errors import Interrupted

__all__ = ["Evaluation", "Learner", "Training", "never", "train_batches"]


def never() -> bool:
    """An `interrupted` that never stops the training."""
    return False


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of a network on some examples.

    Attributes:
        loss: Mean cross entropy in nats, over all examples and positions.
        accuracy: From 0 to 1, over the same.
        dead_units: Share of dead units from 0 to 1. None if there are no units, or if it was not asked for.
    """

    loss: float
    accuracy: float
    dead_units: float | None = None


class Learner(Protocol):
    """A network with its optimizer."""

    rate: float
    """The learning rate. It may change between steps."""

    def computing(self) -> AbstractContextManager[None]:
        """A context for steps, for evaluations, and for what makes their inputs."""
        ...

    def step(self, inputs: Tensor, labels: Tensor, *, is_measured: bool) -> Tensor | float:
        """Make a step of the optimizer on a batch.

        Args:
            inputs: Examples, as the network reads them.
            labels: Their labels, int64.
            is_measured: Whether the step counts in `gradient_norm` and `update_ratio`.

        Returns:
            The mean loss of the batch before the step, in nats.
        """
        ...

    def evaluate(self, inputs: Tensor, labels: Tensor, together: int, *, watches_units: bool = False) -> Evaluation:
        """Evaluate without dropout.

        Args:
            inputs: Examples.
            labels: Their labels.
            together: Number of examples at a time.
            watches_units: Whether to count dead units.
        """
        ...

    @property
    def gradient_norm(self) -> float:
        """Root mean square, over the measured steps, of the L2 norm of all gradients together."""
        ...

    @property
    def update_ratio(self) -> float:
        """Root mean square, over the measured steps, of the norm of the weights' change by the norm of the weights."""
        ...

    def weights(self) -> Mapping[str, np.ndarray]:
        """Return the parameters and buffers by name, in the network's order."""
        ...

    def optimizer_arrays(self) -> Mapping[str, np.ndarray]:
        """Return the optimizer's buffers under the names "<parameter>/<buffer>". Empty before its first step."""
        ...


@dataclass(frozen=True, slots=True)
class Training:
    """The figures of a pass over the training examples, by their names in `EpochMetrics`."""

    mean_loss: float
    initial_loss: float
    gradient_norm: float
    update_ratio: float


def train_batches(
    learner: Learner,
    batches: Iterable[tuple[Tensor, Tensor]],
    steps: int,
    interrupted: Callable[[], bool],
) -> Training:
    """Train on each batch once. The figures are read once, at the end.

    Args:
        learner: The learner. Its weights change.
        batches: Inputs and labels.
        steps: Number of batches if the norms of gradients and changes are to be measured, else 0.
        interrupted: Called before each batch. Returns whether to stop.

    Raises:
        Interrupted: `interrupted` returned true.
    """
    total: Tensor | float = 0.0
    initial: Tensor | float = 0.0
    count, measured = 0, measured_steps(steps)
    for number, (inputs, labels) in enumerate(batches):
        if interrupted():
            raise Interrupted
        loss = learner.step(inputs, labels, is_measured=number in measured)
        total = total + loss * len(labels)
        count += len(labels)
        if number == 0:
            initial = loss
    return Training(float(total) / count, float(initial), learner.gradient_norm, learner.update_ratio)
