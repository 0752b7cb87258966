"""Specifications of networks: layers, name and size. Torch is not imported.

`networks.py` builds a network from its specification.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Self

from ml_trainer_env.server.datasets import ExampleKind, TargetKind
from ml_trainer_env.server.trainer.errors import ConfigError
from ml_trainer_env.server.trainer.kinds import Activation, NetworkKind
from ml_trainer_env.server.trainer.limits import Limit, check_choice, check_flag, shown

__all__ = ["MAX_PARAMETERS", "MAX_POSITIONS", "NETWORKS", "SPEC_LIMITS", "Block", "NetworkSpec", "find_network"]

SPEC_LIMITS: Mapping[str, Limit] = MappingProxyType(
    {
        "outputs": Limit(2, 65_536, whole=True),
        "depth": Limit(1, 8, whole=True),
        "width": Limit(1, 1024, whole=True),
        "initial_scale": Limit(0.0, 10.0, open_low=True),
        "hidden": Limit(0, 4096, whole=True),
        "first_stride": Limit(1, 2, whole=True),
    }
)
"""Bounds of the numbers of a specification, by name."""

MAX_PARAMETERS = 20_000_000
"""Largest allowed number of trainable parameters."""

MAX_POSITIONS = 512
"""Largest allowed length of the inputs of a transformer. Its memory grows with the square of the length."""

_SIZE = Limit(1, 65_536, whole=True)
_RANKS: Mapping[ExampleKind, tuple[str, ...]] = {
    ExampleKind.IMAGES: ("channels", "height", "width"),
    ExampleKind.TABLES: ("columns",),
    ExampleKind.SEQUENCES: ("length", "channels"),
    ExampleKind.TOKENS: ("length", "vocabulary"),
}
_READS: Mapping[NetworkKind, tuple[ExampleKind, ...]] = {
    NetworkKind.MLP: (ExampleKind.IMAGES, ExampleKind.TABLES, ExampleKind.SEQUENCES, ExampleKind.TOKENS),
    NetworkKind.CNN: (ExampleKind.IMAGES,),
    NetworkKind.CNN_1D: (ExampleKind.SEQUENCES, ExampleKind.TOKENS),
    NetworkKind.TRANSFORMER: (ExampleKind.SEQUENCES, ExampleKind.TOKENS),
}
_CNN_ALONE = {"hidden": 0, "first_stride": 1}
_CHOICES: Mapping[str, type[StrEnum]] = {
    "kind": NetworkKind,
    "activation": Activation,
    "examples": ExampleKind,
    "target": TargetKind,
}

_POOLED_SIDE = 4
"""The smallest side or length that a block of a CNN halves."""

_HEAD_SIZE = 16
"""The smallest size of a head of a transformer that has more than one."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a CNN: a convolution, max pooling by 2, batch norm and activation.

    The convolution is 3 x 3 with padding 1 for images, and of length 5 with padding 2 for sequences and tokens.

    Attributes:
        inputs: Number of input channels.
        outputs: Number of output channels.
        stride: Stride of the convolution.
        pools: Whether max pooling follows.
    """

    inputs: int
    outputs: int
    stride: int
    pools: bool


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A network without its weights. Every field is checked on construction.

    Two equal specifications build the same network, and the same seed draws the same weights for both.

        >>> NetworkSpec("mlp", inputs=(1, 28, 28), outputs=10, depth=1, width=128).parameter_count
        101770

    Attributes:
        kind: The kind of network.
        inputs: Shape of an example: (channels, height, width) of images, (columns,) of tables,
            (length, channels) of sequences, (length, vocabulary) of tokens.
        outputs: Number of classes, or of tokens that may come next.
        depth: Number of hidden layers of a perceptron, of blocks of a CNN, or of layers of a transformer.
        width: Units of each hidden layer. Block `i` of a CNN has `i` times as many channels. Also the size of the
            vectors that tokens are embedded in.
        norm: Whether each hidden layer or block has batch norm instead of a bias. For a transformer: whether it has
            layer norm.
        activation: The function after each hidden layer or block. For a transformer: inside its perceptrons.
        initial_scale: Factor of the initial weights. Biases and norms are not scaled.
        examples: The kind of examples.
        target: What the network predicts.
        hidden: Units of a last hidden layer between the blocks of a CNN and its outputs, without norm. 0 for none.
        first_stride: Stride of the first block of a CNN. With a stride of 2 that block does not pool.

    Raises:
        ConfigError: A value is out of bounds or of the wrong type, or the network cannot be built.
    """

    kind: NetworkKind
    inputs: tuple[int, ...]
    outputs: int
    depth: int
    width: int
    norm: bool = False
    activation: Activation = Activation.RELU
    initial_scale: float = 1.0
    examples: ExampleKind = ExampleKind.IMAGES
    target: TargetKind = TargetKind.CLASSES
    hidden: int = 0
    first_stride: int = 1

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            chosen = check_choice(name, getattr(self, name), tuple(choices))
            object.__setattr__(self, name, choices(chosen))
        for name, limit in SPEC_LIMITS.items():
            object.__setattr__(self, name, limit.check(name, getattr(self, name)))
        object.__setattr__(self, "norm", check_flag("norm", self.norm))
        object.__setattr__(self, "inputs", self._checked_inputs())
        self._check_combination()

    @property
    def name(self) -> str:
        """The network's name in states, keys and replies: its name in `NETWORKS`, or its `text`."""
        return _NAMES.get(self) or self.text

    @property
    def text(self) -> str:
        """The specification as JSON on one line, without the fields that have their default value.

        Equal specifications have equal texts. A new field with a default value does not change existing texts.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a specification from its `text`.

        Raises:
            ConfigError: The text is not that of a specification.
        """
        try:
            values: dict[str, Any] = dict(json.loads(text))
            return cls(**values)
        except (TypeError, ValueError, RecursionError) as error:
            reason = f": {error}" if isinstance(error, ConfigError) else ""
            names = ", ".join(NETWORKS)
            raise ConfigError(
                f"a network must be one of {names} or the text of a specification, got {shown(text)}{reason}"
            ) from error

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of a CNN for images or sequences. Empty for other kinds."""
        if self.kind is NetworkKind.CNN_1D:
            return self._sequence_blocks()
        return tuple(block for block, _, _ in self._blocks_and_sides())

    @property
    def features(self) -> int:
        """Number of inputs of a perceptron's first hidden layer, or of the layer after a network's blocks or layers."""
        if self.kind in (NetworkKind.CNN_1D, NetworkKind.TRANSFORMER):
            return self.width
        if self.examples is ExampleKind.TOKENS:
            return self.inputs[0] * self.width
        last = self._blocks_and_sides()[-1:]
        return math.prod((last[0][0].outputs, *last[0][1:])) if last else math.prod(self.inputs)

    @property
    def heads(self) -> int:
        """Number of heads of each layer of a transformer: one for each 16 units of width, and at least 1."""
        return max(1, self.width // _HEAD_SIZE)

    @property
    def head_size(self) -> int:
        """Size of a head of a transformer. The heads together may be a little smaller than the width."""
        return self.width // self.heads

    @property
    def parameter_count(self) -> int:
        """Number of trainable parameters."""
        count, units = self._embedding_parameters(), self.features
        area = 9 if self.kind is NetworkKind.CNN else 5
        for block in self.blocks:
            count += area * block.inputs * block.outputs + self._shifts(block.outputs)
        if self.kind is NetworkKind.TRANSFORMER:
            count += self._transformer_parameters()
        if self.kind is NetworkKind.MLP:
            for _ in range(self.depth):
                count += units * self.width + self._shifts(self.width)
                units = self.width
        if self.hidden:
            count += (units + 1) * self.hidden
            units = self.hidden
        return count + (units + 1) * self.outputs

    def _embedding_parameters(self) -> int:
        """Number of parameters of the embedding of tokens, or of a transformer's projection of sequences."""
        if self.examples is ExampleKind.TOKENS:
            return self.inputs[1] * self.width
        return (self.inputs[1] + 1) * self.width if self.kind is NetworkKind.TRANSFORMER else 0

    def _transformer_parameters(self) -> int:
        """Number of parameters of the positions, the layers and the last norm."""
        width, inner = self.width, self.heads * self.head_size
        attention = (width + 1) * 3 * inner + (inner + 1) * width
        perceptron = (width + 1) * 2 * width + (2 * width + 1) * width
        norm = 2 * width if self.norm else 0
        return self.inputs[0] * width + self.depth * (attention + perceptron + 2 * norm) + norm

    def _shifts(self, units: int) -> int:
        """Number of parameters besides the weights: the scale and shift of batch norm, or a bias."""
        return 2 * units if self.norm else units

    def _blocks_and_sides(self) -> list[tuple[Block, int, int]]:
        """The blocks of a CNN, each with the height and width of its output."""
        if self.kind is not NetworkKind.CNN:
            return []
        channels, height, width = self.inputs
        found = []
        for number in range(1, self.depth + 1):
            stride = self.first_stride if number == 1 else 1
            pools = stride == 1 and min(height, width) >= _POOLED_SIDE
            height, width = -(-height // stride), -(-width // stride)
            if pools:
                height, width = height // 2, width // 2
            block = Block(channels, number * self.width, stride, pools)
            channels = block.outputs
            found.append((block, height, width))
        return found

    def _sequence_blocks(self) -> tuple[Block, ...]:
        """The blocks of a CNN for sequences and tokens."""
        length, channels = self.inputs
        if self.examples is ExampleKind.TOKENS:
            channels = self.width
        found = []
        for _ in range(self.depth):
            pools = length >= _POOLED_SIDE
            length = length // 2 if pools else length
            found.append(Block(channels, self.width, 1, pools))
            channels = self.width
        return tuple(found)

    def _checked_inputs(self) -> tuple[int, ...]:
        names = _RANKS[self.examples]
        given = self.inputs
        if not isinstance(given, tuple | list) or len(given) != len(names):
            raise ConfigError(f"inputs must be ({', '.join(names)}) for {self.examples}, got {shown(given)}")
        return tuple(int(_SIZE.check(f"{name} of inputs", size)) for name, size in zip(names, given, strict=True))

    def _check_combination(self) -> None:
        if self.examples not in _READS[self.kind]:
            raise ConfigError(
                f"a network of kind {self.kind} reads {', '.join(_READS[self.kind])}, not {self.examples}"
            )
        if self.target is TargetKind.NEXT_TOKEN:
            self._check_next_token()
        if self.kind is NetworkKind.TRANSFORMER and self.inputs[0] > MAX_POSITIONS:
            raise ConfigError(f"a transformer reads a length of at most {MAX_POSITIONS}, got {self.inputs[0]}")
        for name, default in _CNN_ALONE.items():
            if self.kind is not NetworkKind.CNN and getattr(self, name) != default:
                raise ConfigError(f"{name} is for networks of kind cnn, and must be {default} for kind {self.kind}")
        if self.parameter_count > MAX_PARAMETERS:
            raise ConfigError(
                f"a network may have {MAX_PARAMETERS:,} parameters, and this one would have {self.parameter_count:,}"
            )

    def _check_next_token(self) -> None:
        if self.kind is not NetworkKind.TRANSFORMER:
            raise ConfigError(f"a network of kind {self.kind} predicts {TargetKind.CLASSES}, not {self.target}")
        if self.examples is not ExampleKind.TOKENS:
            raise ConfigError(f"the target next_token needs tokens, not {self.examples}")
        if self.outputs != self.inputs[1]:
            raise ConfigError(f"outputs must be the vocabulary, {self.inputs[1]}, for next_token, got {self.outputs}")


NETWORKS: Mapping[str, NetworkSpec] = MappingProxyType(
    {
        "simple_mlp": NetworkSpec(NetworkKind.MLP, (1, 28, 28), 10, depth=1, width=128),
        "small_cnn": NetworkSpec(NetworkKind.CNN, (1, 28, 28), 10, depth=2, width=16, hidden=120),
        "deeper_cnn": NetworkSpec(
            NetworkKind.CNN, (3, 32, 32), 10, depth=3, width=16, norm=True, hidden=560, first_stride=2
        ),
        "batch_norm_mlp": NetworkSpec(NetworkKind.MLP, (1, 28, 28), 10, depth=2, width=256, norm=True),
    }
)
"""The networks that have a name. Stored states, keys and journals contain the names, so they never change meaning."""

_NAMES = {spec: name for name, spec in NETWORKS.items()}


def find_network(name: str) -> NetworkSpec:
    """Return the specification whose `NetworkSpec.name` is `name`.

    Raises:
        ConfigError: No specification has this name.
    """
    return NETWORKS[name] if name in NETWORKS else NetworkSpec.parse(name)
