"""Recovers the positions of the pixels, then trains a small convolutional network on the images."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layout import Layout, recover_layout
from .network import build_network
from .transforms import transformed

__all__ = ["Agent"]

Array = npt.NDArray[Any]

PEAK_RATE = 0.01
WARM_UP = 0.2
"""Share of the training in which the learning rate rises. It then falls. Both are linear."""

MEASURED_STEPS = 20
"""Steps whose mean time decides how many steps fit into the time limit."""

RESERVE = 0.95
"""Share of the remaining time that is used."""

WEIGHT_DECAY = 0.02
LABEL_SMOOTHING = 0.05
BATCH_SIZE = 128
TRANSFORMED_TOGETHER = 16 * BATCH_SIZE
PREDICTED_TOGETHER = 500

VIEWS = {(0, 0): 2, (0, 1): 1, (0, -1): 1, (1, 0): 1, (-1, 0): 1}
"""Shifts of a test image by up to one pixel, and their weights in the mean of the predictions."""


class Agent:
    """A convolutional network on images whose permutation has been undone.

    Args:
        output_dim: Number of labels.
        seed: Determines the initial weights, the order of the images and their transforms; random if None. Results are
            reproducible on a machine that is fast enough for `epochs`. On a slower one, the time limit ends training.
        epochs: Passes over the training images, within the time limit.
        seconds: Time limit of `train`.
    """

    def __init__(
        self, output_dim: int = 10, seed: int | None = None, epochs: float = 10.0, seconds: float = 48.0
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
        self._layout: Layout | None = None
        self._network: nn.Module | None = None

    def train(self, X_train: Array, y_train: Array) -> None:
        """Recover the layout, then train."""
        began = time.monotonic()
        rows = _rows(X_train)
        self._layout = recover_layout(rows)
        images = _images(self._layout, rows)
        labels = torch.from_numpy(np.array(y_train, np.int64).reshape(-1))
        network = self._network = build_network(self.output_dim, self._generator)
        optimizer = torch.optim.AdamW(network.parameters(), PEAK_RATE, weight_decay=WEIGHT_DECAY, fused=True)
        steps = max(1, round(self.epochs * len(images) / BATCH_SIZE))
        first = time.monotonic()
        for step, (batch, right) in enumerate(self._batches(images, labels)):
            if step == MEASURED_STEPS:
                step_s = (time.monotonic() - first) / step
                steps = min(steps, int(RESERVE * (self.seconds - (first - began)) / step_s))
            if step >= steps or time.monotonic() - began > self.seconds:
                break
            optimizer.param_groups[0]["lr"] = PEAK_RATE * _triangle((step + 1) / (steps + 1))
            with _short_floats():
                scores = network(batch)
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(scores.float(), right, label_smoothing=LABEL_SMOOTHING).backward()
            optimizer.step()
        network.eval()

    @torch.no_grad()
    def predict(self, X_test: Array) -> Array:
        """Predict the label with the largest score for each image.

        Raises:
            RuntimeError: The agent was not trained.
        """
        if self._network is None or self._layout is None:
            raise RuntimeError("call train before predict")
        images = _images(self._layout, _rows(X_test))
        shares = sum(share * self._shares_of(images.roll(shift, (2, 3))) for shift, share in VIEWS.items())
        assert isinstance(shares, Tensor)
        labels: Array = shares.argmax(1).numpy()
        return labels

    def _shares_of(self, images: Tensor) -> Tensor:
        """Compute the probabilities of the labels, (N, labels)."""
        assert self._network is not None
        with _short_floats():
            scores = torch.cat([self._network(part) for part in images.split(PREDICTED_TOGETHER)])
        return scores.float().softmax(1)

    def _batches(self, images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches without end, shuffled in each pass. Skips batches of one image, which batch norm cannot use."""
        while True:
            for chosen in torch.randperm(len(images), generator=self._generator).split(TRANSFORMED_TOGETHER):
                drawn = transformed(images[chosen], self._generator).contiguous(memory_format=torch.channels_last)
                for batch, right in zip(drawn.split(BATCH_SIZE), labels[chosen].split(BATCH_SIZE), strict=True):
                    if len(batch) > 1:
                        yield batch, right


def _rows(images: Array) -> Array:
    """Flatten images to rows of numbers in [0, 1]. uint8 images are divided by 255."""
    rows = np.asarray(images, np.float32).reshape(len(images), -1)
    return rows / np.float32(255) if np.asarray(images).dtype == np.uint8 else rows


def _images(layout: Layout, rows: Array) -> Tensor:
    side = round(len(layout.order) ** 0.5)
    flat = np.ascontiguousarray(layout.applied(rows))
    return torch.from_numpy(flat.reshape(-1, 1, side, side))


def _triangle(progress: float) -> float:
    """Rise from 0 to 1, then fall to 0."""
    return min(progress / WARM_UP, (1 - progress) / (1 - WARM_UP))


def _short_floats() -> AbstractContextManager[None]:
    """Use bfloat16 if the processor supports it. Without support it would be slower."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bool(torch.cpu.get_capabilities().get("avx512_bf16")))
