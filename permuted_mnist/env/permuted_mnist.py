"""The challenge with the interface of the competition's guide: request tasks until there are no more."""

import secrets
from pathlib import Path
from typing import Any

from permuted_mnist.delivery import Delivery
from permuted_mnist.predictions import accuracy
from permuted_mnist.tasks import Variant, draw_task, load_digits

__all__ = ["PermutedMNISTEnv"]


class PermutedMNISTEnv:
    """A series of tasks, each with its own permutations.

    Args:
        number_episodes: Number of tasks.
        variant: `standard` or `hardened`; see `tasks.Variant`.
        data_dir: Folder that may contain `mnist.npz`. The default is the folder in `ML_TRAINER_DATA_DIR`.
        delivery: `guide` for images in [0, 1] and flat labels, `competition` for uint8 images and a column of labels.
            See `delivery.Delivery`.

    Attributes:
        number_episodes: Number of tasks.
        source: Source of the images: `cache` for all of MNIST, `bundled` for 10,000 images of it, `synthetic` for the
            hardened variant.

    Raises:
        DatasetError: The file in the data directory is damaged.
    """

    def __init__(
        self,
        number_episodes: int = 10,
        variant: str = Variant.STANDARD,
        data_dir: str | Path | None = None,
        delivery: str = Delivery.GUIDE,
    ) -> None:
        self.number_episodes = number_episodes
        self._variant = Variant(variant)
        self._delivery = Delivery(delivery)
        self._mnist = load_digits(self._variant, Path(data_dir) if data_dir is not None else None)
        self.source = str(self._mnist.source)
        self.set_seed(None)

    def set_seed(self, seed: int | None = None) -> None:
        """Start a new series.

        Args:
            seed: The same seed gives the same tasks. None draws a secret seed.
        """
        self._seed = secrets.randbits(64) if seed is None else seed
        self._number = 0

    def reset(self) -> None:
        """Restart the series with the same tasks."""
        self._number = 0

    def get_next_task(self) -> dict[str, Any] | None:
        """Get the next task; None when there are no more.

        Returns:
            `X_train` float32 (N, 28, 28) in [0, 1], `y_train` int64 (N,), `X_test` float32 (M, 28, 28). With the
            competition's delivery: uint8 (N, 28, 28) from 0 to 255, int64 (N, 1) and uint8 (M, 28, 28). `y_test` int64
            (M,) is for `evaluate` and not for the agent.
        """
        if self._number >= self.number_episodes:
            return None
        task = draw_task(self._mnist, self._seed, self._number, self._variant)
        self._number += 1
        return {
            "X_train": self._delivery.images(task.train_images),
            "y_train": self._delivery.labels(task.train_labels),
            "X_test": self._delivery.images(task.test_images),
            "y_test": task.test_labels,
        }

    def evaluate(self, predictions: Any, y_true: Any) -> float:
        """Compute the share of correct predictions.

        Args:
            predictions: Labels, an array or a list, (M,) or (M, 1).
            y_true: The correct labels, in the same form.

        Raises:
            PredictionError: Predictions or labels are invalid.
        """
        return accuracy(predictions, y_true)
