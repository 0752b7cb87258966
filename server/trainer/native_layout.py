"""How the native kernels keep a network's arrays: a list of layers, and the place of each number.

Torch's arrays are kept in states. The kernels' are padded to whole registers, and weights lie panel by panel.
"""

from dataclasses import dataclass, field

import numpy as np
from torch import nn

from ml_trainer_env.native import Function, Kind, Library, Shape
from ml_trainer_env.server.datasets import ExampleKind
from ml_trainer_env.server.trainer.network_parts import Dropout, Embedding, MeanOverPositions, Positions, Swapped
from ml_trainer_env.server.trainer.network_specs import NetworkSpec
from ml_trainer_env.server.trainer.networks import build_network

__all__ = ["Layout", "layout_of"]


@dataclass(slots=True)
class Layout:
    """A network in the kernels' terms.

    Attributes:
        layers: The layers, inputs first.
        parameters: Place of each number of each parameter in one array, by torch's names, in torch's order.
        parameter_count: Length of that array, padding included.
        statistics: The same for the running means and variances of batch norm.
        statistics_count: Length of their array.
        counters: Torch's name of the counter of batches of each layer with batch norm, by number of the layer.
        units: Place of each unit of the outputs of each layer that drops, in torch's order, by number of the layer.
    """

    layers: list[Shape] = field(default_factory=list)
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    parameter_count: int = 0
    statistics: dict[str, np.ndarray] = field(default_factory=dict)
    statistics_count: int = 0
    counters: dict[int, str] = field(default_factory=dict)
    units: dict[int, np.ndarray] = field(default_factory=dict)


def layout_of(spec: NetworkSpec, library: Library, *, drops: bool) -> Layout | None:
    """Return the layout of a network, or None if the kernels lack one of its parts.

    Args:
        spec: The network.
        library: The kernels.
        drops: Whether dropout drops any units.
    """
    builder, network = _Builder(library, drops, spec), build_network(spec)
    is_known = all(builder.add(str(number), module) for number, module in enumerate(network))
    return builder.layout if is_known else None


class _Builder:
    """Translates torch's modules, one after the other.

    Args:
        library: The kernels.
        drops: Whether dropout drops any units.
        spec: The network.
    """

    def __init__(self, library: Library, drops: bool, spec: NetworkSpec) -> None:
        self.layout = Layout()
        self._library, self._drops = library, drops
        if spec.examples is ExampleKind.IMAGES:
            self._channels, self._height, self._width = spec.inputs
        elif spec.examples is ExampleKind.TABLES:
            self._channels, self._height, self._width = spec.inputs[0], 1, 1
        else:
            self._channels, self._height, self._width = spec.inputs[1], 1, spec.inputs[0]
        self._padded = self._channels
        self._is_channels_first = spec.examples is ExampleKind.IMAGES

    def add(self, name: str, module: nn.Module) -> bool:
        """Add a module. Returns whether the kernels have it."""
        match module:
            case nn.Conv1d() | nn.Conv2d():
                self._add_convolution(name, module)
            case nn.Linear():
                self._add_linear(name, module)
            case Embedding() if not isinstance(module, Positions):
                self._add_embedding(name, module)
            case nn.MaxPool1d() | nn.MaxPool2d():
                self._pool(1 if isinstance(module, nn.MaxPool1d) else 2)
            case nn.BatchNorm1d() | nn.BatchNorm2d():
                self._add_norm(name, module)
            case nn.ReLU() | nn.Tanh():
                self._last.activation = Function.TANH if isinstance(module, nn.Tanh) else Function.RELU
            case MeanOverPositions():
                self._begin(Kind.AVERAGE, self._padded, self._channels, 1, 1)
            case Dropout():
                if self._drops:
                    self._last.drops = 1
                    self.layout.units[len(self.layout.layers) - 1] = self._order()
            case Swapped():
                self._is_channels_first = True
            case nn.Flatten():
                pass  # a matrix product reads images as they lie
            case _:
                return False
        return True

    @property
    def _last(self) -> Shape:
        return self.layout.layers[-1]

    def _order(self) -> np.ndarray:
        """Return where the values of an example lie, in torch's order: channel by channel, or place by place."""
        channel, row, column = np.ogrid[: self._channels, : self._height, : self._width]
        places: np.ndarray = (row * self._width + column) * self._padded + channel
        return (places if self._is_channels_first else places.transpose(1, 2, 0)).ravel()

    def _begin(self, kind: Kind, inputs: int, units: int, height: int, width: int) -> Shape:
        """Begin a layer.

        Args:
            kind: Its kind.
            inputs: What it reads.
            units: Number of values or channels of its outputs.
            height: Height of its outputs.
            width: Width of its outputs.
        """
        layer = Shape(kind, inputs, self._height, self._width, self._library.padded(units), units)
        self.layout.layers.append(layer)
        self._channels, self._padded, self._height, self._width = units, layer.outputs, height, width
        return layer

    def _pool(self, height: int) -> None:
        self._last.pool_height, self._last.pool_width = height, 2
        self._height, self._width = self._height // height, self._width // 2

    def _add_convolution(self, name: str, module: nn.Conv1d | nn.Conv2d) -> None:
        channels, inputs, stride = self._channels, self._padded, module.stride[-1]
        height, width = -(-self._height // stride), -(-self._width // stride)
        layer = self._begin(Kind.CONVOLUTION, inputs, module.out_channels, height, width)
        layer.kernel_height, layer.kernel_width = (1, *module.kernel_size)[-2:]
        layer.stride = stride
        channel, row, column = np.ogrid[:channels, : layer.kernel_height, : layer.kernel_width]
        depth = ((row * layer.kernel_width + column) * inputs + channel).reshape(module.weight.shape[1:])
        self._place_weights(f"{name}.weight", depth, layer.kernel_height * layer.kernel_width * inputs)
        self._place_bias(name, module)

    def _add_linear(self, name: str, module: nn.Linear) -> None:
        order, inputs = self._order(), self._height * self._width * self._padded
        self._begin(Kind.LINEAR, inputs, module.out_features, 1, 1)
        self._place_weights(f"{name}.weight", order, inputs)
        self._place_bias(name, module)

    def _add_embedding(self, name: str, module: Embedding) -> None:
        layer = self._begin(Kind.EMBEDDING, module.num_embeddings, module.embedding_dim, self._height, self._width)
        token, unit = np.ogrid[: layer.inputs, : layer.units]
        layer.weights = self._place(f"{name}.weight", token * layer.outputs + unit, layer.inputs * layer.outputs)

    def _place_weights(self, name: str, depth: np.ndarray, whole_depth: int) -> None:
        """Place the weights of the last layer: panel by panel of outputs, in each of them by depth.

        Args:
            name: Torch's name.
            depth: The depth of the weights of an output, in the shape of torch's weights of an output.
            whole_depth: Depth with padding.
        """
        layer, panel = self._last, self._library.panel
        output = np.arange(layer.units).reshape(-1, *[1] * depth.ndim)
        last = panel * max(0, layer.outputs // panel - 1)
        first = np.minimum(output // panel * panel, last)
        width = np.where(first == last, layer.outputs - last, panel)
        places = first * whole_depth + depth * width + output - first
        layer.weights = self._place(name, places, whole_depth * layer.outputs)

    def _place_bias(self, name: str, module: nn.Conv1d | nn.Conv2d | nn.Linear) -> None:
        if module.bias is not None:
            self._last.shift = self._place(f"{name}.bias", np.arange(self._last.units), self._last.outputs)

    def _add_norm(self, name: str, module: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        layer, layout, channels = self._last, self.layout, np.arange(module.num_features)
        layer.has_norm = 1
        layer.scale = self._place(f"{name}.weight", channels, layer.outputs)
        layer.shift = self._place(f"{name}.bias", channels, layer.outputs)
        layer.statistics = layout.statistics_count
        layout.statistics[f"{name}.running_mean"] = layer.statistics + channels
        layout.statistics[f"{name}.running_var"] = layer.statistics + layer.outputs + channels
        layout.statistics_count += 2 * layer.outputs
        layout.counters[len(layout.layers) - 1] = f"{name}.num_batches_tracked"

    def _place(self, name: str, places: np.ndarray, size: int) -> int:
        """Place a parameter behind those before. Returns where it begins."""
        begin = self.layout.parameter_count
        self.layout.parameters[name] = begin + places
        self.layout.parameter_count += size
        return begin
