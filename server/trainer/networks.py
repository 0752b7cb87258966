"""Builds networks from their specifications and draws their initial weights.

Modules are created on torch's meta device, so the global generator is not used. Weights come from `draw_weights` or
from a training state.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ml_trainer_env.server.trainer.kinds import Activation, NetworkKind
from ml_trainer_env.server.trainer.network_specs import NetworkSpec
from ml_trainer_env.server.trainer.state import Arrays

__all__ = ["Dropout", "build_network", "draw_weights", "owned_tensor"]


class Dropout(nn.Module):
    """Inverted dropout (Srivastava et al. 2014) with its own generator.

    Args:
        probability: Probability that a unit is zeroed in training. The other units are scaled up.
        source: The generator of the masks. None for a network that is only evaluated.
    """

    def __init__(self, probability: float, source: torch.Generator | None) -> None:
        super().__init__()
        self.probability = probability
        self.source = source

    def forward(self, units: Tensor) -> Tensor:
        """Drop units of a float tensor of any shape. Returns the same shape."""
        if not self.training or self.probability == 0.0:
            return units
        keep = 1.0 - self.probability
        mask = torch.empty_like(units).bernoulli_(keep, generator=self.source)
        return units * mask.div_(keep)


class _BatchNorm1d(nn.BatchNorm1d):
    """Batch norm that also accepts a batch of one example; see `_normalised`."""

    def forward(self, units: Tensor) -> Tensor:
        return _normalised(self, units) if _is_single(self, units) else super().forward(units)


class _BatchNorm2d(nn.BatchNorm2d):
    """Batch norm that also accepts a single pixel of a single image; see `_normalised`."""

    def forward(self, units: Tensor) -> Tensor:
        return _normalised(self, units) if _is_single(self, units) else super().forward(units)


def _is_single(norm: nn.BatchNorm1d | nn.BatchNorm2d, units: Tensor) -> bool:
    """Whether a training batch has only one value for each unit. Then it has no variance."""
    return norm.training and units.numel() == norm.num_features


def _normalised(norm: nn.BatchNorm1d | nn.BatchNorm2d, units: Tensor) -> Tensor:
    """Normalise by the running mean and variance, as in evaluation. They are not updated."""
    return F.batch_norm(units, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


_ACTIVATIONS: Mapping[Activation, Callable[[], nn.Module]] = {
    Activation.RELU: partial(nn.ReLU, inplace=True),
    Activation.TANH: nn.Tanh,
}


def _mlp(spec: NetworkSpec, dropout: nn.Module) -> Iterator[nn.Module]:
    activation, units = _ACTIVATIONS[spec.activation], spec.features
    yield nn.Flatten()
    for _ in range(spec.depth):
        yield nn.Linear(units, spec.width, bias=not spec.norm)
        if spec.norm:
            yield _BatchNorm1d(spec.width)
        yield activation()
        yield dropout
        units = spec.width
    yield nn.Linear(units, spec.outputs)


def _cnn(spec: NetworkSpec, dropout: nn.Module) -> Iterator[nn.Module]:
    activation, units = _ACTIVATIONS[spec.activation], spec.features
    for block in spec.blocks:
        yield nn.Conv2d(block.inputs, block.outputs, 3, stride=block.stride, padding=1, bias=not spec.norm)
        # Pooling first reduces the memory traffic of norm and activation to a quarter.
        if block.pools:
            yield nn.MaxPool2d(2)
        if spec.norm:
            yield _BatchNorm2d(block.outputs)
        yield activation()
    yield nn.Flatten()
    if spec.hidden:
        yield nn.Linear(units, spec.hidden)
        yield activation()
        units = spec.hidden
    yield dropout
    yield nn.Linear(units, spec.outputs)


_BUILDERS: Mapping[NetworkKind, Callable[[NetworkSpec, nn.Module], Iterator[nn.Module]]] = {
    NetworkKind.MLP: _mlp,
    NetworkKind.CNN: _cnn,
}


def build_network(
    spec: NetworkSpec,
    weights: Arrays | None = None,
    *,
    dropout: float = 0.0,
    source: torch.Generator | None = None,
) -> nn.Module:
    """Build a network with copies of `weights`, in a memory layout for fast convolutions.

    Args:
        spec: The specification.
        weights: Parameters and buffers by name. Without them the network stays on the meta device.
        dropout: Probability of dropping a hidden unit; see `TrainingConfig`.
        source: The generator of dropout's masks.

    Returns:
        A module that maps a batch of any size N, float32 (N, *spec.inputs), to logits, float32 (N, spec.outputs).

    Raises:
        RuntimeError: The weights do not fit the network.
    """
    with torch.device("meta"):
        network = nn.Sequential(*_BUILDERS[spec.kind](spec, Dropout(dropout, source)))
    if weights is None:
        return network
    tensors = {key: owned_tensor(array) for key, array in weights.items()}
    network.load_state_dict(tensors, assign=True)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    return network


def draw_weights(spec: NetworkSpec, source: torch.Generator) -> dict[str, np.ndarray]:
    """Draw a network's initial weights.

    Weights and biases of linear and convolution layers are uniform in +-1/sqrt(fan_in) (torch's default: LeCun et
    al. 1998, section 4.6, up to a constant). The weights are then multiplied by `spec.initial_scale`. Batch norm
    begins with scale 1 and shift 0.

    Args:
        spec: The network.
        source: The random generator.

    Returns:
        Arrays by name, in the network's order, float32 (counters int64).
    """
    weights: dict[str, np.ndarray] = {}
    for prefix, module in build_network(spec).named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            bound = float(module.weight[0].numel()) ** -0.5
            for key, parameter in module.named_parameters(recurse=False):
                drawn = torch.empty(parameter.shape).uniform_(-bound, bound, generator=source)
                if key == "weight":
                    drawn.mul_(spec.initial_scale)
                weights[f"{prefix}.{key}"] = drawn.numpy()
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            channels = module.num_features
            weights[f"{prefix}.weight"] = np.ones(channels, np.float32)
            weights[f"{prefix}.bias"] = np.zeros(channels, np.float32)
            weights[f"{prefix}.running_mean"] = np.zeros(channels, np.float32)
            weights[f"{prefix}.running_var"] = np.ones(channels, np.float32)
            weights[f"{prefix}.num_batches_tracked"] = np.zeros((), np.int64)
    return weights


def owned_tensor(array: np.ndarray) -> Tensor:
    """Return a copy that torch may write to. A 4-D array is in channels-last order."""
    tensor = torch.from_numpy(array.copy())
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
