"""Builds networks from their specifications and draws their initial weights.

Modules are created on torch's meta device, so the global generator is not used. Weights come from `draw_weights` or
from a training state.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ml_trainer_env.server.datasets import ExampleKind, TargetKind
from ml_trainer_env.server.trainer.devices import CPU
from ml_trainer_env.server.trainer.kinds import NetworkKind
from ml_trainer_env.server.trainer.network_parts import (
    ACTIVATIONS,
    BatchNorm1d,
    BatchNorm2d,
    Dropout,
    Embedding,
    MeanOverPositions,
    Positions,
    Swapped,
    TransformerLayer,
)
from ml_trainer_env.server.trainer.network_specs import NetworkSpec
from ml_trainer_env.server.trainer.state import Arrays

__all__ = ["build_network", "draw_weights", "owned_tensor"]

POSITION_DEVIATION = 0.02
"""Deviation of the initial vectors of positions."""


def _mlp(spec: NetworkSpec, dropout: nn.Module) -> Iterator[nn.Module]:
    activation, units = ACTIVATIONS[spec.activation], spec.features
    if spec.examples is ExampleKind.TOKENS:
        yield Embedding(spec.inputs[1], spec.width)
    yield nn.Flatten()
    for _ in range(spec.depth):
        yield nn.Linear(units, spec.width, bias=not spec.norm)
        if spec.norm:
            yield BatchNorm1d(spec.width)
        yield activation()
        yield dropout
        units = spec.width
    yield nn.Linear(units, spec.outputs)


def _cnn(spec: NetworkSpec, dropout: nn.Module) -> Iterator[nn.Module]:
    activation, units = ACTIVATIONS[spec.activation], spec.features
    for block in spec.blocks:
        yield nn.Conv2d(block.inputs, block.outputs, 3, stride=block.stride, padding=1, bias=not spec.norm)
        # Pooling first reduces the memory traffic of norm and activation to a quarter.
        if block.pools:
            yield nn.MaxPool2d(2)
        if spec.norm:
            yield BatchNorm2d(block.outputs)
        yield activation()
    yield nn.Flatten()
    if spec.hidden:
        yield nn.Linear(units, spec.hidden)
        yield activation()
        units = spec.hidden
    yield dropout
    yield nn.Linear(units, spec.outputs)


def _cnn_1d(spec: NetworkSpec, dropout: nn.Module) -> Iterator[nn.Module]:
    if spec.examples is ExampleKind.TOKENS:
        yield Embedding(spec.inputs[1], spec.width)
    yield Swapped()
    for block in spec.blocks:
        yield nn.Conv1d(block.inputs, block.outputs, 5, padding=2, bias=not spec.norm)
        if block.pools:
            yield nn.MaxPool1d(2)
        if spec.norm:
            yield BatchNorm1d(block.outputs)
        yield ACTIVATIONS[spec.activation]()
    yield MeanOverPositions(2)
    yield dropout
    yield nn.Linear(spec.width, spec.outputs)


def _transformer(spec: NetworkSpec, dropout: nn.Module) -> Iterator[nn.Module]:
    length, values = spec.inputs
    is_next_token = spec.target is TargetKind.NEXT_TOKEN
    if spec.examples is ExampleKind.TOKENS:
        yield Embedding(values, spec.width)
    else:
        yield nn.Linear(values, spec.width)
    yield Positions(length, spec.width)
    for _ in range(spec.depth):
        yield TransformerLayer(spec, dropout, causal=is_next_token)
    if spec.norm:
        yield nn.LayerNorm(spec.width)
    if not is_next_token:
        yield MeanOverPositions(1)
    yield dropout
    yield nn.Linear(spec.width, spec.outputs)


_BUILDERS: Mapping[NetworkKind, Callable[[NetworkSpec, nn.Module], Iterator[nn.Module]]] = {
    NetworkKind.MLP: _mlp,
    NetworkKind.CNN: _cnn,
    NetworkKind.CNN_1D: _cnn_1d,
    NetworkKind.TRANSFORMER: _transformer,
}


def build_network(
    spec: NetworkSpec,
    weights: Arrays | None = None,
    *,
    dropout: float = 0.0,
    source: torch.Generator | None = None,
    device: torch.device = CPU,
) -> nn.Sequential:
    """Build a network with copies of `weights`, in a memory layout for fast convolutions.

    Args:
        spec: The specification.
        weights: Parameters and buffers by name. Without them the network stays on the meta device.
        dropout: Probability of dropping a hidden unit; see `TrainingConfig`.
        source: The generator of dropout's masks.
        device: Where the weights are.

    Returns:
        A module that maps a batch of any size N to logits. A batch is float32 (N, *spec.inputs), or int64 (N, length)
        for tokens. Logits are float32 (N, spec.outputs), or (N, length, spec.outputs) for the next token.

    Raises:
        RuntimeError: The weights do not fit the network.
    """
    with torch.device("meta"):
        network = nn.Sequential(*_BUILDERS[spec.kind](spec, Dropout(dropout, source)))
    if weights is None:
        return network
    tensors = {key: owned_tensor(array).to(device) for key, array in weights.items()}
    network.load_state_dict(tensors, assign=True)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    return network


def draw_weights(spec: NetworkSpec, source: torch.Generator) -> dict[str, np.ndarray]:
    """Draw a network's initial weights.

    Weights and biases of linear and convolution layers are uniform in +-1/sqrt(fan_in) (torch's default: LeCun et
    al. 1998, section 4.6, up to a constant). Embeddings of tokens are normal with mean 0 and deviation 1 (torch's
    default), like standardised inputs. Vectors of positions are normal with deviation 0.02 (Radford et al. 2018,
    section 4.1). All these weights, but no biases, are then multiplied by `spec.initial_scale`. Batch norm and layer
    norm begin with scale 1 and shift 0.

    Args:
        spec: The network.
        source: The random generator.

    Returns:
        Arrays by name, in the network's order, float32 (counters int64).
    """
    weights: dict[str, np.ndarray] = {}
    for prefix, module in build_network(spec).named_modules():
        for name, array in _drawn(module, spec.initial_scale, source):
            weights[f"{prefix}.{name}"] = array
    return weights


def _drawn(module: nn.Module, scale: float, source: torch.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Yield names and initial arrays of a module's own parameters and buffers."""
    match module:
        case nn.Linear() | nn.Conv1d() | nn.Conv2d():
            bound = float(module.weight[0].numel()) ** -0.5
            for name, parameter in module.named_parameters(recurse=False):
                drawn = torch.empty(parameter.shape).uniform_(-bound, bound, generator=source)
                yield name, (drawn.mul_(scale) if name == "weight" else drawn).numpy()
        case nn.Embedding():
            deviation = POSITION_DEVIATION if isinstance(module, Positions) else 1.0
            normal = torch.empty(module.weight.shape).normal_(0.0, deviation, generator=source)
            yield "weight", normal.mul_(scale).numpy()
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            channels = module.num_features
            yield "weight", np.ones(channels, np.float32)
            yield "bias", np.zeros(channels, np.float32)
            yield "running_mean", np.zeros(channels, np.float32)
            yield "running_var", np.ones(channels, np.float32)
            yield "num_batches_tracked", np.zeros((), np.int64)
        case nn.LayerNorm():
            yield "weight", np.ones(module.normalized_shape, np.float32)
            yield "bias", np.zeros(module.normalized_shape, np.float32)


def owned_tensor(array: np.ndarray) -> Tensor:
    """Return a copy that torch may write to. A 4-D array is in channels-last order."""
    tensor = torch.from_numpy(array.copy())
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
