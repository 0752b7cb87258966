"""Softmax regression by stochastic gradient descent, in NumPy."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Agent"]

Array = npt.NDArray[Any]


class Agent:
    """One linear layer. A permutation of the pixels only permutes its weights.

    Args:
        input_dim: Pixels of an image.
        output_dim: Number of labels.
        learning_rate: Initial learning rate.
        epochs: Passes over the training images.
        batch_size: Images in a step.
        momentum: Momentum of gradient descent.
        seed: Determines the order of the images.
    """

    def __init__(
        self,
        input_dim: int = 784,
        output_dim: int = 10,
        learning_rate: float = 0.01,
        epochs: int = 5,
        batch_size: int = 64,
        momentum: float = 0.9,
        seed: int | None = None,
    ) -> None:
        self.input_dim = input_dim
        self.output_dim = output_dim
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.momentum = momentum
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        """Delete everything that was learned."""
        self._generator = np.random.default_rng(self._seed)
        self._weights = np.zeros((self.input_dim, self.output_dim), np.float32)
        self._bias = np.zeros(self.output_dim, np.float32)

    def train(self, X_train: Array, y_train: Array) -> None:
        """Minimise the cross-entropy, with a learning rate that falls linearly to zero."""
        images = _flat(X_train)
        targets = np.eye(self.output_dim, dtype=np.float32)[np.asarray(y_train).reshape(-1)]
        speed, speed_bias = np.zeros_like(self._weights), np.zeros_like(self._bias)
        starts = range(0, len(images), self.batch_size)
        steps, step = self.epochs * len(starts), 0
        for _ in range(self.epochs):
            order = self._generator.permutation(len(images))
            for start in starts:
                batch = order[start : start + self.batch_size]
                error = (_softmax(images[batch] @ self._weights + self._bias) - targets[batch]) / len(batch)
                rate = np.float32(self.learning_rate * (1 - step / steps))
                speed = self.momentum * speed - rate * (images[batch].T @ error)
                speed_bias = self.momentum * speed_bias - rate * error.sum(0)
                self._weights += speed
                self._bias += speed_bias
                step += 1

    def predict(self, X_test: Array) -> Array:
        """Predict the label with the largest score for each image."""
        labels: Array = np.argmax(_flat(X_test) @ self._weights + self._bias, axis=1)
        return labels


def _flat(images: Array) -> Array:
    """Flatten images to rows of numbers in [0, 1]. uint8 images are divided by 255."""
    rows = np.asarray(images, np.float32).reshape(len(images), -1)
    return rows / np.float32(255) if np.asarray(images).dtype == np.uint8 else rows


def _softmax(scores: Array) -> Array:
    exponentials = np.exp(scores - scores.max(1, keepdims=True))
    shares: Array = exponentials / exponentials.sum(1, keepdims=True)
    return shares
