"""Trains and evaluates perceptrons and CNNs with the native kernels.

States have the same form as torch's: weights and buffers of either can be continued by the other, with other bits.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ml_trainer_env.native import Function, Library, Network
from ml_trainer_env.server.trainer.config import OptimizerKind, TrainingConfig
from ml_trainer_env.server.trainer.diagnostics import SATURATED, WATCHED_EXAMPLES
from ml_trainer_env.server.trainer.learner import Evaluation
from ml_trainer_env.server.trainer.native_layout import Layout
from ml_trainer_env.server.trainer.optimizers import BETA1, BETA2, EPSILON, MOMENTUM
from ml_trainer_env.server.trainer.state import Arrays, TrainingState

__all__ = ["NativeLearner"]

_MEANS, _SQUARES, _STEP, _MOMENTA = "exp_avg", "exp_avg_sq", "step", "momentum_buffer"
"""Torch's names of the optimizers' buffers."""

_EVALUATED_TOGETHER = 64
"""Largest number of examples that are evaluated together. Sums are over one example each, so it changes no bits."""


class NativeLearner:
    """A `Learner` of the native kernels.

    Args:
        library: The kernels.
        layout: The network's layout, with dropout if `config` has it.
        state: The weights and the optimizer's buffers to begin with.
        config: Kind of optimizer, weight decay, dropout and batch size.
        rate: The learning rate.
        source: The generator of dropout's masks. It draws what torch's dropout would draw.
    """

    def __init__(
        self,
        library: Library,
        layout: Layout,
        state: TrainingState,
        config: TrainingConfig,
        rate: float,
        source: torch.Generator | None,
    ) -> None:
        self.rate = rate
        self._library, self._layout, self._config, self._source = library, layout, config, source
        self._names = list(state.weights)
        self._active = [layer for layer in layout.layers if layer.activation is not Function.NONE]
        self._parameters = _joined(layout.parameters, layout.parameter_count, state.weights)
        self._gradients = torch.zeros(layout.parameter_count)
        self._statistics = _joined(layout.statistics, layout.statistics_count, state.weights)
        self._counters = {number: int(state.weights[name]) for number, name in layout.counters.items()}
        self._buffers: dict[str, Tensor] = {}
        self._step = 0.0
        if state.optimizer_kind == config.optimizer and state.optimizer:
            self._load(state.optimizer)
        self._network = Network(
            library,
            layout.layers,
            max(config.batch_size, _EVALUATED_TOGETHER),
            torch.get_num_threads(),
            self._parameters.data_ptr(),
            self._gradients.data_ptr(),
            self._statistics.data_ptr(),
        )
        self._squares: list[tuple[float, float, float]] = []

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Leave torch one thread; see `Learner`. Its idle ones would spin, and take processors from the kernels'.

        The number is that of the calling thread. Only a thread that first uses torch meanwhile takes it over.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def step(self, inputs: Tensor, labels: Tensor, *, is_measured: bool) -> float:
        """Make a step; see `Learner`."""
        count, inputs, labels = len(labels), _in_reading_order(inputs), labels.contiguous()
        masks = self._masks(count)
        addresses = [masks[number].data_ptr() if number in masks else 0 for number in range(len(self._layout.layers))]
        loss = self._network.loss(inputs.data_ptr(), labels.data_ptr(), count, addresses)
        for number in self._counters:
            layer = self._layout.layers[number]
            self._counters[number] += count * layer.pixels > 1
        if is_measured:
            before = self._parameters.clone()
            self._update()
            changed = self._parameters - before
            self._squares.append((self._square(self._gradients), self._square(changed), self._square(before)))
        else:
            self._update()
        return loss

    def _masks(self, count: int) -> dict[int, Tensor]:
        """Draw the factors of dropout for each layer that has it, (count, padded values)."""
        keep, masks = 1.0 - self._config.dropout, {}
        for number, places in self._layout.units.items():
            drawn = torch.empty(count, len(places)).bernoulli_(keep, generator=self._source).div_(keep)
            values = self._layout.layers[number].values
            masks[number] = torch.zeros(count, values)
            masks[number][:, torch.from_numpy(places)] = drawn
        return masks

    def _update(self) -> None:
        network, count, rate, decay = self._network, self._layout.parameter_count, self.rate, self._config.weight_decay
        if self._config.optimizer is OptimizerKind.SGD:
            network.sgd(self._buffer(_MOMENTA), count, rate=rate, decay=decay, momentum=MOMENTUM)
            return
        self._step += 1.0
        network.adam(
            self._buffer(_MEANS),
            self._buffer(_SQUARES),
            count,
            step=self._step,
            rate=rate,
            decay=decay,
            is_decoupled=self._config.optimizer is OptimizerKind.ADAMW,
            betas=(BETA1, BETA2),
            epsilon=EPSILON,
        )

    def _buffer(self, name: str) -> int:
        """Return the address of a buffer of the optimizer. The first step creates it."""
        if name not in self._buffers:
            self._buffers[name] = torch.zeros(self._layout.parameter_count)
        return self._buffers[name].data_ptr()

    def _square(self, values: Tensor) -> float:
        square: float = self._library.functions.squared_norm(values.data_ptr(), len(values))
        return square

    @property
    def gradient_norm(self) -> float:
        """See `Learner`."""
        return _root_of_mean([gradient for gradient, _, _ in self._squares])

    @property
    def update_ratio(self) -> float:
        """See `Learner`."""
        return _root_of_mean([change / before if before else math.nan for _, change, before in self._squares])

    def evaluate(self, inputs: Tensor, labels: Tensor, together: int, *, watches_units: bool = False) -> Evaluation:
        """Evaluate; see `Learner`. `together` is not used."""
        inputs = _in_reading_order(inputs)
        logits = torch.empty(len(inputs), self._layout.layers[-1].units)
        extremes = self._extremes()
        for start in range(0, len(inputs), _EVALUATED_TOGETHER):
            part = inputs[start : start + _EVALUATED_TOGETHER]
            is_watched = watches_units and start < WATCHED_EXAMPLES
            watched = extremes.data_ptr() if is_watched else 0
            self._network.evaluate(part.data_ptr(), len(part), logits[start:].data_ptr(), watched)
        loss = float(F.cross_entropy(logits, labels))
        accuracy = int((logits.argmax(1) == labels).sum()) / len(labels)
        return Evaluation(loss, accuracy, self._dead_units(extremes) if watches_units else None)

    def _extremes(self) -> Tensor:
        """Return what every output of a relu exceeds, and every magnitude of a tanh stays below."""
        sides = [torch.full((layer.outputs,), _worst(layer.activation)) for layer in self._active]
        return torch.cat(sides) if sides else torch.empty(0)

    def _dead_units(self, extremes: Tensor) -> float | None:
        """Return the share of units whose extremes say that they are dead. Padding does not count."""
        parts = extremes.split([layer.outputs for layer in self._active]) if self._active else ()
        dead = [
            found[: layer.units] > SATURATED if layer.activation is Function.TANH else found[: layer.units] <= 0
            for layer, found in zip(self._active, parts, strict=True)
        ]
        units = torch.cat(dead) if dead else torch.empty(0)
        return int(units.sum()) / len(units) if len(units) else None

    def weights(self) -> Mapping[str, np.ndarray]:
        """Return the weights; see `Learner`."""
        layout, found = self._layout, {}
        for places, values in ((layout.parameters, self._parameters), (layout.statistics, self._statistics)):
            found.update({name: values.numpy()[place] for name, place in places.items()})
        for number, name in layout.counters.items():
            found[name] = np.array(self._counters[number], np.int64)
        return {name: found[name] for name in self._names}

    def optimizer_arrays(self) -> Mapping[str, np.ndarray]:
        """Return the optimizer's buffers; see `Learner`."""
        arrays = {}
        for name, places in self._layout.parameters.items():
            if self._step:
                arrays[f"{name}/{_STEP}"] = np.array(self._step, np.float32)
            for buffer, values in self._buffers.items():
                arrays[f"{name}/{buffer}"] = values.numpy()[places]
        return arrays

    def _load(self, arrays: Arrays) -> None:
        """Load what `optimizer_arrays` returned."""
        layout = self._layout
        kind = self._config.optimizer
        buffers = (_MOMENTA,) if kind is OptimizerKind.SGD else (_MEANS, _SQUARES)
        for buffer in buffers:
            named = {name: arrays[f"{name}/{buffer}"] for name in layout.parameters}
            self._buffers[buffer] = _joined(layout.parameters, layout.parameter_count, named)
        if kind is not OptimizerKind.SGD:
            self._step = float(arrays[f"{next(iter(layout.parameters))}/{_STEP}"])


def _joined(places: Mapping[str, np.ndarray], count: int, arrays: Arrays) -> Tensor:
    """Return one array of `count` floats with the values of all arrays in their places, and zeros between them."""
    joined = torch.zeros(count)
    for name, place in places.items():
        joined.numpy()[place] = arrays[name]
    return joined


def _in_reading_order(inputs: Tensor) -> Tensor:
    """Return examples that are contiguous in memory: images pixel by pixel, with their channels side by side."""
    return (inputs.permute(0, 2, 3, 1) if inputs.dim() == 4 else inputs).contiguous()


def _worst(activation: Function) -> float:
    return math.inf if activation is Function.TANH else -math.inf


def _root_of_mean(squares: list[float]) -> float:
    return math.sqrt(sum(squares) / len(squares)) if squares else math.nan
