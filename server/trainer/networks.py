"""The networks that tasks train: built without randomness, filled from arrays.

Modules are made on torch's meta device, so building one draws nothing from the global
generator; weights come from `draw_weights` or from a training state.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ml_trainer_env.server.trainer.kinds import NetworkName
from ml_trainer_env.server.trainer.state import Arrays

__all__ = [
    "Dropout",
    "build_network",
    "draw_weights",
    "owned_tensor",
    "parameter_count",
]

CLASSES = 10


class Dropout(nn.Module):
    """Inverted dropout (Srivastava et al. 2014) that draws from a generator of its own.

    Args:
        probability: Chance that a unit is zeroed in training; the others are scaled up.
        source: Where the masks come from; None for a network that is only evaluated.
    """

    def __init__(self, probability: float, source: torch.Generator | None) -> None:
        super().__init__()
        self.probability = probability
        self.source = source

    def forward(self, units: Tensor) -> Tensor:
        """Drop units of a float tensor of any shape."""
        if not self.training or self.probability == 0.0:
            return units
        keep = 1.0 - self.probability
        mask = torch.empty_like(units).bernoulli_(keep, generator=self.source)
        return units * mask.div_(keep)


def _simple_mlp(dropout: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), dropout, nn.Linear(128, CLASSES))


def _small_cnn(dropout: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 120),
        nn.ReLU(),
        dropout,
        nn.Linear(120, CLASSES),
    )


def _deeper_cnn(dropout: nn.Module) -> nn.Module:
    # Pooling before normalising gives the same kind of block at a quarter of the memory traffic.
    return nn.Sequential(
        *_normalised(nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False)),
        *_normalised(nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.MaxPool2d(2)),
        *_normalised(nn.Conv2d(32, 48, 3, padding=1, bias=False), nn.MaxPool2d(2)),
        nn.Flatten(),
        nn.Linear(48 * 4 * 4, 560),
        nn.ReLU(),
        dropout,
        nn.Linear(560, CLASSES),
    )


def _batch_norm_mlp(dropout: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        *_normalised_layer(784, 256),
        dropout,
        *_normalised_layer(256, 256),
        dropout,
        nn.Linear(256, CLASSES),
    )


def _normalised_layer(inputs: int, units: int) -> tuple[nn.Module, ...]:
    """A linear layer, batch norm and ReLU. Batch norm has a bias, so the layer needs none."""
    return nn.Linear(inputs, units, bias=False), nn.BatchNorm1d(units), nn.ReLU(inplace=True)


def _normalised(convolution: nn.Conv2d, *pooling: nn.Module) -> tuple[nn.Module, ...]:
    """A convolution, pooling if any, batch norm and ReLU."""
    return convolution, *pooling, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True)


_BUILDERS: Mapping[NetworkName, Callable[[nn.Module], nn.Module]] = {
    NetworkName.SIMPLE_MLP: _simple_mlp,
    NetworkName.SMALL_CNN: _small_cnn,
    NetworkName.DEEPER_CNN: _deeper_cnn,
    NetworkName.BATCH_NORM_MLP: _batch_norm_mlp,
}


def build_network(
    name: str,
    weights: Arrays | None = None,
    *,
    dropout: float = 0.0,
    source: torch.Generator | None = None,
) -> nn.Module:
    """Build a network, with copies of `weights` in it, laid out for fast convolutions.

    Args:
        name: A `NetworkName`.
        weights: Its parameters and buffers; without them it stays on the meta device.
        dropout: Probability of dropping a hidden unit.
        source: Where dropout's masks come from.

    Returns:
        A module that maps float32 images (N, C, H, W) to logits (N, 10).

    Raises:
        ValueError: There is no such network.
        RuntimeError: The weights are not this network's.
    """
    with torch.device("meta"):
        network = _BUILDERS[NetworkName(name)](Dropout(dropout, source))
    if weights is None:
        return network
    tensors = {key: owned_tensor(array) for key, array in weights.items()}
    network.load_state_dict(tensors, assign=True)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    return network


def draw_weights(name: str, source: torch.Generator) -> dict[str, np.ndarray]:
    """Draw a network's initial weights.

    Linear and convolution layers: uniform in +-1/sqrt(fan_in), weights and biases alike
    (torch's default: LeCun et al. 1998, section 4.6, up to a constant). Batch norm: 1 and 0.

    Args:
        name: A `NetworkName`.
        source: Where the numbers come from.

    Returns:
        Arrays by name, in the network's order.
    """
    weights: dict[str, np.ndarray] = {}
    for prefix, module in build_network(name).named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            bound = float(module.weight[0].numel()) ** -0.5
            for key, parameter in module.named_parameters(recurse=False):
                drawn = torch.empty(parameter.shape).uniform_(-bound, bound, generator=source)
                weights[f"{prefix}.{key}"] = drawn.numpy()
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            channels = module.num_features
            weights[f"{prefix}.weight"] = np.ones(channels, np.float32)
            weights[f"{prefix}.bias"] = np.zeros(channels, np.float32)
            weights[f"{prefix}.running_mean"] = np.zeros(channels, np.float32)
            weights[f"{prefix}.running_var"] = np.ones(channels, np.float32)
            weights[f"{prefix}.num_batches_tracked"] = np.zeros((), np.int64)
    return weights


def parameter_count(name: str) -> int:
    """Number of trainable parameters of a network."""
    return sum(parameter.numel() for parameter in build_network(name).parameters())


def owned_tensor(array: np.ndarray) -> Tensor:
    """A copy that torch may write to; 4-D weights in channels-last order."""
    tensor = torch.from_numpy(array.copy())
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
