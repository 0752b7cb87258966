"""The network: fully connected layers."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["build_network", "settle_norms"]

TOGETHER = 2000


def build_network(widths: Sequence[int], generator: torch.Generator) -> nn.Module:
    """Build linear layers with batch norm and GELU between them.

    Args:
        widths: Number of pixels, widths of the hidden layers, and number of labels.
        generator: Draws the weights: normal, variance 2 / fan-in (He et al. 2015, arXiv 1502.01852).
    """
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths[:-1]):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.GELU()]
    network = nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
    nn.init.zeros_(network[-1].bias)  # type: ignore[arg-type]
    return network


@torch.no_grad()
def settle_norms(network: nn.Module, images: Tensor) -> None:
    """Set the statistics of the batch norm layers to those of these images.

    Args:
        network: Modified in place.
        images: Inputs of the network.
    """
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.reset_running_stats()
            layer.momentum = None  # average over all parts
    network.train()
    for part in images.tensor_split(-(-len(images) // TOGETHER)):
        network(part)
    network.eval()
