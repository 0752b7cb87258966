"""Figures that show how an epoch went: norms of gradients and updates, and the share of dead units.

They only read tensors, so the bits of the weights are the same with and without them. They cost a few operations on
some steps of an epoch; see `MEASURED_STEPS`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["DeadUnits", "StepNorms", "measured_steps", "watch_units"]

MEASURED_STEPS = 4
"""Number of steps of an epoch whose norms are measured. A norm of all weights takes about as long as their update."""

WATCHED_EXAMPLES = 256
"""Number of examples, the first ones that are evaluated, on which dead units are counted."""

SATURATED = 0.99
"""A tanh unit whose outputs are all above this in magnitude is dead."""


def measured_steps(count: int) -> frozenset[int]:
    """Return the numbers of the measured steps, evenly spread from the first to the last.

        >>> sorted(measured_steps(10))
        [0, 3, 6, 9]

    Args:
        count: Number of steps of the epoch, at least 0.
    """
    if count <= MEASURED_STEPS:
        return frozenset(range(count))
    return frozenset(round(part * (count - 1) / (MEASURED_STEPS - 1)) for part in range(MEASURED_STEPS))


class StepNorms:
    """Norms of all gradients, weights and updates at some steps of an epoch.

    Args:
        network: The network in training.
    """

    def __init__(self, network: nn.Module) -> None:
        self._parameters = list(network.parameters())
        self._weights = torch.empty(0)
        self._gradient_norms: list[Tensor] = []
        self._update_ratios: list[Tensor] = []

    def before_step(self) -> None:
        """Measure the gradients, and copy the weights. Every parameter must have a gradient."""
        gradients = _joined(parameter.grad for parameter in self._parameters if parameter.grad is not None)
        self._gradient_norms.append(torch.linalg.vector_norm(gradients))
        self._weights = _joined(self._parameters)

    def after_step(self) -> None:
        """Measure the change of the weights since `before_step`."""
        norm = torch.linalg.vector_norm(self._weights)
        change = torch.linalg.vector_norm(_joined(self._parameters).sub_(self._weights))
        self._update_ratios.append(change / norm)

    @property
    def gradient_norm(self) -> float:
        """Root mean square, over the measured steps, of the L2 norm of all gradients together."""
        return _root_mean_square(self._gradient_norms)

    @property
    def update_ratio(self) -> float:
        """Root mean square, over the measured steps, of the norm of the weights' change by the norm of the weights."""
        return _root_mean_square(self._update_ratios)


class DeadUnits:
    """Counts units that give the same saturated output for all of the first 256 examples that a network evaluates.

    Args:
        dimension: The dimension of the units in the outputs of activations.
    """

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._extremes: dict[nn.Module, Tensor] = {}
        self._seen: Counter[nn.Module] = Counter()

    def observe(self, activation: nn.Module, _inputs: object, outputs: Tensor) -> None:
        """Record the outputs of an activation, examples first. It is a forward hook.

        For relu it keeps the largest output of each unit, for tanh the smallest magnitude.
        """
        watched = outputs.detach()[: WATCHED_EXAMPLES - self._seen[activation]]
        if not len(watched):
            return
        self._seen[activation] += len(watched)
        # One long dimension before the units is reduced several times faster. For channels-last images it is a view.
        values = watched.movedim(self._dimension, -1).flatten(0, -2)
        is_tanh = isinstance(activation, nn.Tanh)
        found = values.abs().amin(0) if is_tanh else values.amax(0)
        before = self._extremes.get(activation)
        if before is not None:
            found = torch.minimum(before, found) if is_tanh else torch.maximum(before, found)
        self._extremes[activation] = found

    @property
    def share(self) -> float | None:
        """Share of the units of all activations that are dead, from 0 to 1. None if there are no units."""
        dead = [
            found > SATURATED if isinstance(activation, nn.Tanh) else found <= 0
            for activation, found in self._extremes.items()
        ]
        units = torch.cat(dead) if dead else torch.empty(0)
        return int(units.sum()) / len(units) if len(units) else None


@contextmanager
def watch_units(network: nn.Module, dimension: int) -> Iterator[DeadUnits]:
    """Observe the activations of a network during the context.

    Args:
        network: The network.
        dimension: The dimension of the units in their outputs.
    """
    dead = DeadUnits(dimension)
    activations = [module for module in network.modules() if isinstance(module, nn.ReLU | nn.Tanh)]
    hooks = [activation.register_forward_hook(dead.observe) for activation in activations]
    try:
        yield dead
    finally:
        for hook in hooks:
            hook.remove()


def _joined(tensors: Iterable[Tensor]) -> Tensor:
    """Return a copy of all values of some tensors as one vector."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def _root_mean_square(values: list[Tensor]) -> float:
    """Return the root mean square of scalars, NaN of none. It is computed in float64, so squares do not overflow."""
    if not values:
        return float("nan")
    return float(torch.stack(values).double().square().mean().sqrt())
