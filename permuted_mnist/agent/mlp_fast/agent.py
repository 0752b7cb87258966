"""Trains a fully connected network with adversarial training. It does not use the positions of the pixels.

Each batch makes two steps. The first is the usual one. Its backward pass also gives the gradient of the images. The
second step uses the images moved by a fixed distance along this gradient, where the loss rises fastest. So the network
becomes robust, and no additional pass is needed for the direction. Adversarial training is from Goodfellow et al. 2015
(arXiv 1412.6572), here with the 2-norm of Miyato et al. 2016 (arXiv 1605.07725). Two steps on one batch are the "free"
variant of Shafahi et al. 2019 (arXiv 1904.12843).
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
"""Distance by which images are moved. Pixels are between 0 and 1."""

PEAK_RATE = 0.003
WARM_UP = 0.1
"""Share of the training in which the learning rate rises. It then falls. Both are linear."""

WEIGHT_DECAY = 0.02
LABEL_SMOOTHING = 0.05

UNMEASURED_BATCHES = 5
"""The first batches are slower and are not measured."""

MEASURED_BATCHES = 50
"""Batches whose mean time decides how many batches fit into the time limit."""

RESERVE = 0.95
"""Share of the remaining time that is used."""

SETTLED_ON = 20_000
"""Number of images that determine the statistics of the batch norm layers."""


class Agent:
    """A fully connected network, which does not depend on the order of the pixels.

    Args:
        output_dim: Number of labels.
        seed: Determines the initial weights and the order of the images; random if None. Results are reproducible on a
            machine that is fast enough for `epochs`. On a slower one, the time limit ends the training.
        epochs: Passes over the training images, within the time limit.
        seconds: Time limit of `train`.
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
        """Delete everything that was learned."""
        self._generator = torch.Generator()
        if self._seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(self._seed)
        self._network: nn.Module | None = None

    def train(self, X_train: Array, y_train: Array) -> None:
        """Train with two steps for each batch: on its images, and on the moved images."""
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
        """Predict the label with the largest score for each image.

        Raises:
            RuntimeError: The agent was not trained.
        """
        if self._network is None:
            raise RuntimeError("call train before predict")
        with _short_floats():
            labels: Array = self._network(_flat(X_test)).argmax(1).numpy()
        return labels

    def _batches(self, count: int) -> Iterator[Tensor]:
        """Yield batches of indices without end, shuffled in each pass and of equal size."""
        while True:
            yield from torch.randperm(count, generator=self._generator).tensor_split(-(-count // BATCH_SIZE))


def _step(network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> None:
    """Make one step. Also computes the gradient of images that require it."""
    with _short_floats():
        scores = network(images)
    optimizer.zero_grad(set_to_none=True)
    F.cross_entropy(scores.float(), labels, label_smoothing=LABEL_SMOOTHING).backward()
    optimizer.step()


def _moved(images: Tensor) -> Tensor:
    """Move each image along its gradient, where the loss rises fastest."""
    assert images.grad is not None
    return images.detach() + DISTANCE * F.normalize(images.grad)


def _flat(images: Array) -> Tensor:
    """Flatten images to rows of numbers in [0, 1]. uint8 images are divided by 255."""
    rows = torch.from_numpy(np.array(images, np.float32).reshape(len(images), -1))
    return rows.div_(255) if np.asarray(images).dtype == np.uint8 else rows


def _triangle(progress: float) -> float:
    """Rise from 0 to 1, then fall to 0."""
    return min(progress / WARM_UP, (1 - progress) / (1 - WARM_UP))


def _short_floats() -> AbstractContextManager[None]:
    """Use bfloat16 if the processor supports it. Without support it would be slower."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bool(torch.cpu.get_capabilities().get("avx512_bf16")))
