"""The weights of starts in mid-run; see `starts`. Pure functions of the network, the seed, the start and the data.

They look at the types of a network's modules, not at its kind. So they suit every network that is built of linear,
convolution and norm layers, and whose activations are modules.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ml_trainer_env.server.trainer.config import OptimizerKind, TrainingConfig
from ml_trainer_env.server.trainer.data import TensorData
from ml_trainer_env.server.trainer.engine import (
    arrays_of,
    initial_state,
    loss_and_accuracy,
    network_for,
    never,
    train_batches,
)
from ml_trainer_env.server.trainer.networks import build_network
from ml_trainer_env.server.trainer.optimizers import Optimizer, build_optimizer
from ml_trainer_env.server.trainer.randomness import Purpose, generator
from ml_trainer_env.server.trainer.starts import StartKind
from ml_trainer_env.server.trainer.state import FreshState, TrainingState

__all__ = ["started_state"]

_RATE, _BATCH = 0.002, 32
"""Learning rate and batch size of the sensible epochs. The optimizer is Adam."""

_HOT_STEPS, _HOT_FIRST_RATE, _HOT_GROWTH, _HOT_RETREAT = 32, 0.01, 2.0, 8.0
"""Number of steps at a growing rate, the first rate, its factor from step to step, and its divisor after a step that
went too far. 32 steps of 64 examples are two epochs of 1,000."""
_HOT_BATCH = 64
_HOT_LOSS = (1.5, 6.0)
"""The loss at severity 0 and 1, as a multiple of chance or of the loss before, whichever is larger."""
_HOT_CEILING = 4.0
"""A step that multiplies that loss again by more than this went too far."""

_BLOWN_STEP_RATE = 0.001
_BLOWN_SHARE = 1.0
"""One step of sgd at this rate moves each weight by this share of the weights' size, so that ten undo all."""
_BLOWN_MOVED = 3.0
"""At severity 1 the weights have moved by this multiple of their size. Below severity 0.5 they have not."""

_DEAD_SHARE = (0.5, 1.0)
"""Share of dead units in each hidden layer at severity 0 and 1."""
_DEAD_DEVIATIONS, _DEAD_MARGIN, _SATURATED = 4.0, 0.1, 3.0
_SAMPLE = 256
"""Number of training examples on which units are measured."""

_FIFTH, _HEART_PASSES, _HEART_RATE, _HEART_BATCH = 5, 10, 0.003, 16
"""A fifth of the examples is shown ten times, which is as long as two epochs."""
_WRONG_SHARE = (0.4, 1.0)
"""Share of wrong labels in the fifth at severity 0 and 1."""
_KNOWN = 0.98
"""The passes end at this accuracy."""

_BOUND = 1e6
"""Values of weights and buffers that are not finite are replaced by 0 or by this."""

_Interrupted = Callable[[], bool]
_Batches = Iterator[tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """What an accident happens to. It changes the network in place, and returns the buffers of sgd by name."""

    network: nn.Module
    data: TensorData
    severity: float
    source: torch.Generator
    interrupted: _Interrupted


def started_state(fresh: FreshState, data: TensorData, interrupted: _Interrupted = never) -> TrainingState:
    """Compute the weights and the optimizer with which an episode begins.

    Args:
        fresh: The initial state. Without a start its weights are drawn, and the data are not used.
        data: The task's examples. A change on the way does not affect the start.
        interrupted: Called before each batch. Returns whether to stop.

    Returns:
        A state at `fresh.epoch`. All its arrays are finite.

    Raises:
        Interrupted: `interrupted` returned true.
        ValueError: The network does not read these examples, or has no hidden units that could die.
    """
    state = initial_state(fresh)
    if fresh.start is None:
        return state
    data = data.unchanged
    source = generator(Purpose.START, fresh.seed, fresh.epoch)
    network = build_network(network_for(state, data), state.weights)
    run = _Run(network, data, fresh.start.severity, source, interrupted)
    _train(run, fresh.start.trained_epochs)
    buffers = _ACCIDENTS[fresh.start.kind](run)
    return TrainingState(
        network=state.network,
        weights={name: _finite(array) for name, array in arrays_of(network).items()},
        optimizer={name: _finite(buffer.contiguous().numpy()) for name, buffer in buffers.items()},
        optimizer_kind=OptimizerKind.SGD if buffers else "",
        epoch=state.epoch,
        seed=state.seed,
    )


def _train(run: _Run, epochs: int) -> None:
    """Train for some sensible epochs."""
    optimizer = _optimizer(run.network, OptimizerKind.ADAM, _RATE)
    for _ in range(epochs):
        order = torch.randperm(len(run.data.train_labels), generator=run.source)
        batches = _batches(run.data.train_inputs, run.data.train_labels, order, _BATCH)
        train_batches(run.network, optimizer, batches, run.interrupted)


def _overheat(run: _Run) -> Mapping[str, Tensor]:
    """Step at a growing rate until the loss is high enough. A step that went too far is taken back."""
    limit = math.inf
    rate = _HOT_FIRST_RATE
    before = _snapshot(run.network)
    for inputs, labels in _endless_batches(run.data, run.source, _HOT_STEPS):
        now = _snapshot(run.network)
        optimizer = _optimizer(run.network, OptimizerKind.SGD, rate)
        loss = train_batches(run.network, optimizer, iter([(inputs, labels)]), run.interrupted)
        if limit == math.inf:
            usual = max(loss, math.log(run.data.outputs)) if math.isfinite(loss) else math.log(run.data.outputs)
            limit = usual * _between(_HOT_LOSS, run.severity)
        elif limit <= loss <= _HOT_CEILING * limit:
            run.network.load_state_dict(now)
            break
        elif not loss < limit:
            run.network.load_state_dict(before)
            rate /= _HOT_RETREAT
            continue
        before = now
        rate *= _HOT_GROWTH
    else:
        run.network.load_state_dict(before)
    return {}


def _blow_momentum(run: _Run) -> Mapping[str, Tensor]:
    """Fill the momentum buffers with large random numbers. The worse of them have moved the weights already."""
    moved = _BLOWN_MOVED * max(0.0, 2.0 * run.severity - 1.0)
    buffers = {}
    with torch.no_grad():
        for name, parameter in run.network.named_parameters():
            size = float(parameter.square().mean().sqrt())
            direction = torch.empty(parameter.shape).normal_(generator=run.source).mul_(size)
            parameter.sub_(direction, alpha=moved)
            buffers[f"{name}/momentum_buffer"] = direction * (_BLOWN_SHARE / _BLOWN_STEP_RATE)
    return buffers


def _kill_units(run: _Run) -> Mapping[str, Tensor]:
    """Shift the inputs of activations so far that the units no longer depend on the example.

    The shift goes into the bias of the layer that ran last before the activation.
    """
    share = _between(_DEAD_SHARE, run.severity)
    last: list[nn.Module] = []
    killed = 0

    def remember(layer: nn.Module, _inputs: object, _output: object) -> None:
        last[:] = [layer]

    def shift(activation: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        nonlocal killed
        (units,) = inputs
        (layer,) = last
        axis = units.dim() - 1 if isinstance(layer, nn.Linear | nn.LayerNorm) else 1
        shape = [1] * units.dim()
        shape[axis] = -1
        bias = layer.bias
        assert isinstance(bias, Tensor)
        distance = _distance(units.transpose(0, axis).flatten(1), isinstance(activation, nn.Tanh), run.source)
        order = torch.randperm(len(bias), generator=run.source)
        distance[order[round(share * len(bias)) :]] = 0.0
        bias.add_(distance)
        killed += 1
        return (units + distance.view(shape),)

    hooks = []
    for module in run.network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0  # so that the running statistics are those of the sample
        if isinstance(module, nn.ReLU | nn.Tanh | nn.GELU | nn.SiLU):
            hooks.append(module.register_forward_pre_hook(shift))
        elif not list(module.children()) and isinstance(getattr(module, "bias", None), Tensor):
            hooks.append(module.register_forward_hook(remember))
    run.network.train()
    with torch.no_grad():
        run.network(run.data.train_inputs[:_SAMPLE])
    for hook in hooks:
        hook.remove()
    if not killed:
        raise ValueError("units can only die in a network with activation modules, and this one has none")
    return {}


def _distance(units: Tensor, saturates: bool, source: torch.Generator) -> Tensor:
    """Return how far the inputs of each unit must be shifted, float32 (units,).

    Args:
        units: float32 (units, N), the inputs on a sample of examples.
        saturates: Whether the activation is flat at both ends.
        source: Draws the end.
    """
    mean, deviation = units.mean(1), units.std(1, correction=0)
    if not saturates:
        return -(mean + _DEAD_DEVIATIONS * deviation + _DEAD_MARGIN)
    ends = torch.randint(0, 2, (len(units),), generator=source) * 2.0 - 1.0
    return ends * (_SATURATED + _DEAD_DEVIATIONS / 2 * deviation) - mean


def _learn_by_heart(run: _Run) -> Mapping[str, Tensor]:
    """Train on a fifth of the examples, with wrong labels, until they are known."""
    count = len(run.data.train_labels)
    fifth = torch.randperm(count, generator=run.source)[: max(2, count // _FIFTH)]
    inputs, labels = run.data.train_inputs[fifth], run.data.train_labels[fifth]
    wrong = torch.rand(labels.shape, generator=run.source) < _between(_WRONG_SHARE, run.severity)
    others = (labels + torch.randint(1, run.data.outputs, labels.shape, generator=run.source)) % run.data.outputs
    labels = torch.where(wrong, others, labels)
    optimizer = _optimizer(run.network, OptimizerKind.ADAM, _HEART_RATE)
    for _ in range(_HEART_PASSES):
        order = torch.randperm(len(labels), generator=run.source)
        train_batches(run.network, optimizer, _batches(inputs, labels, order, _HEART_BATCH), run.interrupted)
        if loss_and_accuracy(run.network, inputs, labels, run.data.evaluation_batch)[1] >= _KNOWN:
            break
    return {}


_ACCIDENTS: Mapping[StartKind, Callable[[_Run], Mapping[str, Tensor]]] = {
    StartKind.HOT: _overheat,
    StartKind.MOMENTUM: _blow_momentum,
    StartKind.DEAD: _kill_units,
    StartKind.MEMORISED: _learn_by_heart,
}


def _optimizer(network: nn.Module, kind: OptimizerKind, rate: float) -> Optimizer:
    """A new optimizer."""
    return build_optimizer(network, TrainingConfig(optimizer=kind), rate, TrainingState("", {}, {}, "", 0, 0))


def _batches(inputs: Tensor, labels: Tensor, order: Tensor, size: int) -> _Batches:
    for chosen in order.split(size):
        yield inputs[chosen], labels[chosen]


def _endless_batches(data: TensorData, source: torch.Generator, count: int) -> _Batches:
    """Yield `count` batches, in a new order after each epoch."""
    while count > 0:
        order = torch.randperm(len(data.train_labels), generator=source)[: count * _HOT_BATCH]
        yield from _batches(data.train_inputs, data.train_labels, order, _HOT_BATCH)
        count -= -(-len(order) // _HOT_BATCH)


def _snapshot(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def _between(ends: tuple[float, float], severity: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * severity


def _finite(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array
    replaced: np.ndarray = np.nan_to_num(array, nan=0.0, posinf=_BOUND, neginf=-_BOUND)
    return replaced
