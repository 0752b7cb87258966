"""The convolutional network for images whose pixels are back in their places."""

import torch
from torch import nn

__all__ = ["build_network"]


def build_network(labels: int, generator: torch.Generator) -> nn.Module:
    """Build four convolutions and a linear layer for images (N, 1, 28, 28): about 82,000 parameters.

    The first convolution has a stride of 2, because the full size is the most expensive. Pooling comes before batch
    norm and ReLU, which then have a quarter of the work.

    Args:
        labels: Number of labels.
        generator: Draws the weights: normal, variance 2 / fan-in (He et al. 2015, arXiv 1502.01852).
    """
    network = nn.Sequential(
        *_block(nn.Conv2d(1, 24, 5, stride=2, padding=2, bias=False)),
        *_block(nn.Conv2d(24, 48, 3, padding=1, bias=False), nn.MaxPool2d(2)),
        *_block(nn.Conv2d(48, 64, 3, bias=False)),
        *_block(nn.Conv2d(64, 64, 3, bias=False)),
        nn.Flatten(),
        nn.Linear(64 * 3 * 3, labels),
    )
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
    nn.init.zeros_(network[-1].bias)  # type: ignore[arg-type]
    return network.to(memory_format=torch.channels_last)


def _block(convolution: nn.Conv2d, *pooling: nn.Module) -> tuple[nn.Module, ...]:
    return convolution, *pooling, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True)
