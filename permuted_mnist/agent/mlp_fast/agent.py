"""Trains a network on images and on the same images moved to where it does worse: blind to where pixels lie.

Each batch makes two steps. The first is the usual one; the same pass back gives, beside the gradient for the weights,
that for the images. The second step takes the images moved a set distance along it, to where the loss climbs fastest:
so that the network does not depend on what is easily changed, and no pass is made for the direction alone. Adversarial
training is Goodfellow et al. 2015 (arXiv 1412.6572), here with the 2-norm of Miyato et al. 2016 (arXiv 1605.07725); two
steps a batch are the "free" kind of Shafahi et al. 2019 (arXiv 1904.12843).
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .network import build_network, settle_norms

__all__ = ["Agent"]

Array = npt.NDArray[Any]

HIDDEN = (768, 768, 768)
BATCH_SIZE = 256
DISTANCE = 2.0
"""How far images are moved; their pixels lie between 0 and 1."""

PEAK_RATE = 0.003
WARM_UP = 0.1
"""The rate climbs for this share of the training and then falls, both linearly."""

WEIGHT_DECAY = 0.02
LABEL_SMOOTHING = 0.05

UNMEASURED_BATCHES = 5
"""The first take longer."""

MEASURED_BATCHES = 50
"""After so many more it is known how long one takes, and whether there is time for all."""

RESERVE = 0.95
"""Share of the time left that is planned for."""

SETTLED_ON = 20_000
"""So many images tell the mean and variance of what each layer puts out."""


class Agent:
    """Learns what a network can that takes pixels in any order.

    Args:
        output_dim: Number of labels.
        seed: Fixes initial weights and the order of the images; drawn anew if None. Results are the same on a machine
            that is fast enough for `epochs`; on a slower one the time decides how far training comes.
        epochs: Passes over the training images, unless time runs out.
        seconds: Time for `train`, from its beginning.
    """

    def __init__(
        self, output_dim: int = 10, seed: int | None = None, epochs: float = 15.0, seconds: float = 50.0
    ) -> None:
        self.output_dim = output_dim
        self.epochs = epochs
        self.seconds = seconds
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._generator = torch.Generator()
        if self._seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(self._seed)
        self._network: nn.Module | None = None

    def train(self, X_train: Array, y_train: Array) -> None:
        """Two steps a batch: with its images, and with these moved to where the loss climbs."""
        began = time.monotonic()
        images = _flat(X_train)
        labels = torch.from_numpy(np.array(y_train, np.int64).reshape(-1))
        network = self._network = build_network((images.shape[1], *HIDDEN, self.output_dim), self._generator)
        optimizer = torch.optim.AdamW(network.parameters(), PEAK_RATE, weight_decay=WEIGHT_DECAY, fused=True)
        batches = max(1, round(self.epochs * len(images) / BATCH_SIZE))
        for count, chosen in enumerate(self._batches(len(images))):
            if count == UNMEASURED_BATCHES:
                first = time.monotonic()
            if count == UNMEASURED_BATCHES + MEASURED_BATCHES:
                batch_s = (time.monotonic() - first) / MEASURED_BATCHES
                batches = min(batches, int(RESERVE * (self.seconds - (first - began)) / batch_s))
            if count >= batches or time.monotonic() - began > self.seconds:
                break
            optimizer.param_groups[0]["lr"] = PEAK_RATE * _triangle((count + 1) / (batches + 1))
            batch, right = images[chosen].requires_grad_(), labels[chosen]
            _step(network, optimizer, batch, right)
            _step(network, optimizer, _moved(batch), right)
        with _short_floats():
            settle_norms(network, images[:SETTLED_ON])

    @torch.no_grad()
    def predict(self, X_test: Array) -> Array:
        """The label with the largest score, for each image.

        Raises:
            RuntimeError: It was not trained.
        """
        if self._network is None:
            raise RuntimeError("call train before predict")
        with _short_floats():
            labels: Array = self._network(_flat(X_test)).argmax(1).numpy()
        return labels

    def _batches(self, count: int) -> Iterator[Tensor]:
        """Indices of batches without end, shuffled anew in each pass; of equal size, so that none is of one image."""
        while True:
            yield from torch.randperm(count, generator=self._generator).tensor_split(-(-count // BATCH_SIZE))


def _step(network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> None:
    """Descend once. Images that require their gradient have it afterwards."""
    with _short_floats():
        scores = network(images)
    optimizer.zero_grad(set_to_none=True)
    F.cross_entropy(scores.float(), labels, label_smoothing=LABEL_SMOOTHING).backward()
    optimizer.step()


def _moved(images: Tensor) -> Tensor:
    """Each image moved along its gradient, where the loss climbs fastest."""
    assert images.grad is not None
    return images.detach() + DISTANCE * F.normalize(images.grad)


def _flat(images: Array) -> Tensor:
    """Images as rows of numbers in [0, 1], whether they come so or as bytes."""
    rows = torch.from_numpy(np.array(images, np.float32).reshape(len(images), -1))
    return rows.div_(255) if np.asarray(images).dtype == np.uint8 else rows


def _triangle(progress: float) -> float:
    """From 0 up to 1 and down to 0 again."""
    return min(progress / WARM_UP, (1 - progress) / (1 - WARM_UP))


def _short_floats() -> AbstractContextManager[None]:
    """Computes in bfloat16 where the processor has instructions for it; elsewhere that would be slower."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bool(torch.cpu.get_capabilities().get("avx512_bf16")))
