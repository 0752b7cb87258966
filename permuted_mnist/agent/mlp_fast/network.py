"""The network: fully connected layers, to which one order of the pixels is as good as another."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["build_network", "settle_norms"]

TOGETHER = 2000


def build_network(widths: Sequence[int], generator: torch.Generator) -> nn.Module:
    """Linear layers, with batch norm and GELU between.

    Args:
        widths: Of the images (their pixels), of each hidden layer, and of the scores (the labels).
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
    """Norm from now on by the mean and variance of these images, not of those met in training.

    Args:
        network: Changed in place.
        images: As the network takes them.
    """
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.reset_running_stats()
            layer.momentum = None  # so that it is the mean over all parts
    network.train()
    for part in images.tensor_split(-(-len(images) // TOGETHER)):
        network(part)
    network.eval()
