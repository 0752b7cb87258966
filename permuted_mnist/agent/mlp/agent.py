"""A network with one hidden layer: about 97.5 % in a few seconds."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["Agent"]

Array = npt.NDArray[Any]


class Agent:
    """784-256-10 with ReLU, trained with Adam.

    Args:
        output_dim: Number of labels.
        seed: Determines the initial weights and the order of the images; random if None.
        hidden: Width of the hidden layer.
        learning_rate: Learning rate of Adam.
        batch_size: Images in a step.
        epochs: Passes over the training images.
    """

    def __init__(
        self,
        output_dim: int = 10,
        seed: int | None = None,
        hidden: int = 256,
        learning_rate: float = 0.001,
        batch_size: int = 128,
        epochs: int = 5,
    ) -> None:
        self.output_dim = output_dim
        self.hidden = hidden
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
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
        """Minimise the cross-entropy."""
        images = _flat(X_train)
        labels = torch.from_numpy(np.array(y_train, np.int64).reshape(-1))
        self._network = network = self._drawn(images.shape[1])
        optimizer = torch.optim.Adam(network.parameters(), self.learning_rate)
        for _ in range(self.epochs):
            for batch in torch.randperm(len(images), generator=self._generator).split(self.batch_size):
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(network(images[batch]), labels[batch]).backward()
                optimizer.step()

    @torch.no_grad()
    def predict(self, X_test: Array) -> Array:
        """Predict the label with the largest score for each image.

        Raises:
            RuntimeError: The agent was not trained.
        """
        if self._network is None:
            raise RuntimeError("call train before predict")
        labels: Array = self._network(_flat(X_test)).argmax(1).numpy()
        return labels

    def _drawn(self, pixels: int) -> nn.Module:
        layers = nn.Linear(pixels, self.hidden), nn.Linear(self.hidden, self.output_dim)
        for layer in layers:
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=self._generator)
            nn.init.zeros_(layer.bias)
        return nn.Sequential(layers[0], nn.ReLU(), layers[1])


def _flat(images: Array) -> torch.Tensor:
    """Flatten images to rows of numbers in [0, 1]. uint8 images are divided by 255."""
    rows = torch.from_numpy(np.array(images, np.float32).reshape(len(images), -1))
    return rows.div_(255) if np.asarray(images).dtype == np.uint8 else rows
