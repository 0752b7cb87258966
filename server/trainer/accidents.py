"""The weights of starts in mid-run; see `starts`. Pure functions of the network, the seed, the start and the data.
They are computed on the processor, whatever trains the episode.

They look at the types of a network's modules, not at its kind. So they suit every network that is built of linear,
convolution and norm layers, and whose activations are modules.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from ml_trainer_env.server.trainer.config import OptimizerKind, TrainingConfig
from ml_trainer_env.server.trainer.data import TensorData
from ml_trainer_env.server.trainer.engine import initial_state, network_for
from ml_trainer_env.server.trainer.errors import Interrupted
from ml_trainer_env.server.trainer.learner import Learner, never, train_batches
from ml_trainer_env.server.trainer.learners import open_learner
from ml_trainer_env.server.trainer.network_specs import find_network
from ml_trainer_env.server.trainer.networks import build_network, owned_tensor
from ml_trainer_env.server.trainer.randomness import Purpose, generator
from ml_trainer_env.server.trainer.schedules import LearningRatePlan, LrSchedule
from ml_trainer_env.server.trainer.starts import StartKind, StartSpec
from ml_trainer_env.server.trainer.state import FreshState, TrainingState
from ml_trainer_env.server.trainer.torch_learner import arrays_of, mean_loss

__all__ = ["mislabelled_fifth", "started_state"]

_RATE, _BATCH = 0.003, 32
"""First learning rate and batch size of the sensible epochs. The optimizer is Adam, the schedule a cosine."""

_HOT_LOSS = (1.1, 4.0)
"""The loss after the hot step at severity 0 and 1, as a multiple of chance or of the loss before, whichever is larger.
It may be a tenth more."""
_HOT_TOLERANCE = 1.1
_HOT_FIRST_RATE, _HOT_GROWTH, _HOT_GROWTHS, _HOT_HALVINGS = 0.01, 4.0, 16, 8
_HOT_SAMPLE = 128
"""Number of training examples on which the hot step's gradient and loss are computed."""

_BLOWN_STEP_RATE = 0.001
_BLOWN_SHARE = 2.0
"""The first step of sgd at this rate moves weights by this multiple of their size (root mean square), and the next ones
by nine tenths of the one before."""
_BLOWN_MOVED = (0.0, 3.0)
"""By this multiple of their size the weights have moved already at severity 0 and 1."""

_DEAD_SHARE = (0.15, 1.0)
"""Share of dead units in each hidden layer at severity 0 and 1."""
_DEAD_DEVIATIONS, _DEAD_MARGIN, _SATURATED = 4.0, 0.1, 3.0
_SAMPLE = 256
"""Number of training examples on which units are measured."""
_SAMPLE_SHARE = 0.9
"""Share of the sample in the running statistics of batch norm afterwards."""

_FIFTH, _HEART_PASSES, _HEART_RATE, _HEART_BATCH = 5, 10, 0.005, 32
"""A fifth of the examples is shown ten times, which is as long as two epochs."""
_WRONG_SHARE = (0.4, 1.0)
"""Share of wrong labels in the fifth at severity 0 and 1."""
_KNOWN = 0.05
"""The passes end when their mean loss (nats) is below this."""

_BOUND = 1e6
"""Values of weights and buffers that are not finite are replaced by 0 or by this."""

_STARTED: WeakKeyDictionary[TensorData, dict[FreshState, TrainingState]] = WeakKeyDictionary()
_REMEMBERED = 4
"""The last starts of each examples are remembered, since every attempt at a task begins with the same one."""

_Interrupted = Callable[[], bool]
_Batches = Iterator[tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """What an accident happens to. It changes the network in place, and returns the buffers of sgd by name."""

    name: str
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
    if fresh.start is None:
        return initial_state(fresh)
    data = data.unchanged.on_cpu
    known = _STARTED.setdefault(data, {})
    if fresh not in known:
        if len(known) == _REMEMBERED:
            del known[next(iter(known))]
        known[fresh] = _start(fresh, fresh.start, data, interrupted)
    return known[fresh]


def _start(fresh: FreshState, start: StartSpec, data: TensorData, interrupted: _Interrupted) -> TrainingState:
    """Train the sensible epochs, and let the accident happen."""
    state = initial_state(fresh)
    source = generator(Purpose.START, fresh.seed, fresh.epoch)
    network = build_network(network_for(state, data), state.weights)
    run = _Run(state.network, network, data, start.severity, source, interrupted)
    if start.trained_epochs:
        _train(run, start.trained_epochs)
    buffers = _ACCIDENTS[start.kind](run)
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
    plan = LearningRatePlan(LrSchedule.COSINE, _RATE, 0, epochs)
    with _learning(run, _RATE, _BATCH) as learner:
        for epoch in range(epochs):
            learner.rate = plan.rate_at(epoch)
            order = torch.randperm(len(run.data.train_labels), generator=run.source)
            batches = _batches(run.data.train_inputs, run.data.train_labels, order, _BATCH)
            train_batches(learner, batches, 0, run.interrupted)


@contextmanager
def _learning(run: _Run, rate: float, batch: int) -> Iterator[Learner]:
    """Open a learner with a new Adam. Afterwards the network has its weights."""
    state = TrainingState(run.name, arrays_of(run.network), {}, "", 0, 0)
    config = TrainingConfig(optimizer=OptimizerKind.ADAM, batch_size=batch)
    learner = open_learner(find_network(run.name), state, config, rate, run.data.kernels)
    with learner.computing():
        yield learner
    run.network.load_state_dict({name: owned_tensor(array) for name, array in learner.weights().items()})


def _overheat(run: _Run) -> Mapping[str, Tensor]:
    """Take one step of sgd whose rate is so high that the loss rises to a given level.

    If the network knows the sample so well that no rate raises the loss, the step is towards wrong labels.
    """
    chosen = torch.randperm(len(run.data.train_labels), generator=run.source)[:_HOT_SAMPLE]
    inputs, labels = run.data.train_inputs[chosen], run.data.train_labels[chosen]
    before = {name: parameter.detach().clone() for name, parameter in run.network.named_parameters()}
    run.network.train()
    _remember_statistics(run.network)

    for wanted in (labels, (labels + 1) % run.data.outputs):
        if run.interrupted():
            raise Interrupted
        run.network.zero_grad()
        mean_loss(run.network(inputs), wanted).backward()

        def loss_at(rate: float) -> float:
            with torch.no_grad():
                for name, parameter in run.network.named_parameters():
                    gradient = parameter.grad
                    parameter.copy_(before[name] if gradient is None else before[name] - rate * gradient)
                return float(mean_loss(run.network(inputs), labels))

        usual = max(loss_at(0.0), math.log(run.data.outputs))
        if _raise_loss(loss_at, usual * _between(_HOT_LOSS, run.severity)):
            break
    return {}


def _raise_loss(loss_at: Callable[[float], float], limit: float) -> bool:
    """Leave the network at the lowest rate at which the loss is about `limit`. Returns whether there is one."""
    low, high = 0.0, _HOT_FIRST_RATE
    for _ in range(_HOT_GROWTHS):
        if not (loss := loss_at(high)) < limit:
            break
        low, high = high, high * _HOT_GROWTH
    else:
        loss_at(0.0)
        return False
    for _ in range(_HOT_HALVINGS):
        if loss <= limit * _HOT_TOLERANCE:
            return True
        middle = math.sqrt(low * high) if low else high / _HOT_GROWTH
        if (found := loss_at(middle)) < limit:
            low = middle
        else:
            high, loss = middle, found
    loss_at(high if math.isfinite(loss) else low)
    return True


def _remember_statistics(network: nn.Module) -> None:
    """Let the next pass through batch norm replace most of its running mean and variance."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = _SAMPLE_SHARE


def _blow_momentum(run: _Run) -> Mapping[str, Tensor]:
    """Fill the momentum buffers with large random numbers. The worse of them have moved the weights already."""
    moved = _between(_BLOWN_MOVED, run.severity)
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
        if isinstance(module, nn.ReLU | nn.Tanh | nn.GELU | nn.SiLU):
            hooks.append(module.register_forward_pre_hook(shift))
        elif not list(module.children()) and isinstance(getattr(module, "bias", None), Tensor):
            hooks.append(module.register_forward_hook(remember))
    run.network.train()
    _remember_statistics(run.network)
    with torch.no_grad():
        run.network(run.data.train_inputs[:_SAMPLE])
    for hook in hooks:
        hook.remove()
    if not killed:
        raise ValueError("units die in front of an activation module, and this network has none")
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
    inputs, labels = mislabelled_fifth(run.data, run.severity, run.source)
    with _learning(run, _HEART_RATE, _HEART_BATCH) as learner:
        for _ in range(_HEART_PASSES):
            order = torch.randperm(len(labels), generator=run.source)
            batches = _batches(inputs, labels, order, _HEART_BATCH)
            if train_batches(learner, batches, 0, run.interrupted).mean_loss < _KNOWN:
                break
    return {}


def mislabelled_fifth(data: TensorData, severity: float, source: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw a fifth of the training examples, and give many of them a wrong label.

    Args:
        data: The task's examples.
        severity: 0 to 1. It decides the share of wrong labels.
        source: The random generator.

    Returns:
        Inputs and labels in the form of the training examples.
    """
    count = len(data.train_labels)
    fifth = torch.randperm(count, generator=source)[: max(2, count // _FIFTH)]
    labels = data.train_labels[fifth]
    low, high = _WRONG_SHARE
    wrong = torch.rand(labels.shape, generator=source) < low + (high - low) * severity
    others = (labels + torch.randint(1, data.outputs, labels.shape, generator=source)) % data.outputs
    return data.train_inputs[fifth], torch.where(wrong, others, labels)


_ACCIDENTS: Mapping[StartKind, Callable[[_Run], Mapping[str, Tensor]]] = {
    StartKind.HOT: _overheat,
    StartKind.MOMENTUM: _blow_momentum,
    StartKind.DEAD: _kill_units,
    StartKind.MEMORISED: _learn_by_heart,
}


def _batches(inputs: Tensor, labels: Tensor, order: Tensor, size: int) -> _Batches:
    for chosen in order.split(size):
        yield inputs[chosen], labels[chosen]


def _between(ends: tuple[float, float], severity: float) -> float:
    """Return a value between those of severity 0 and 1.

    It grows with the cube of the severity. So about half of the severities leave weights that are worth keeping.
    """
    return ends[0] + (ends[1] - ends[0]) * severity**3


def _finite(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array
    replaced: np.ndarray = np.nan_to_num(array, nan=0.0, posinf=_BOUND, neginf=-_BOUND)
    return replaced
