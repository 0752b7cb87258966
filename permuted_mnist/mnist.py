"""The images of the challenge: all of MNIST if it is available, otherwise the 10,000 bundled images."""

import functools
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from ml_trainer_env.server.datasets import DatasetName, Source, bundled_mnist, read_image_set
from ml_trainer_env.server.datasets.npz import file_name
from ml_trainer_env.server.datasets.values import Images, Labels

__all__ = ["BUNDLED_TRAIN_SIZE", "Mnist", "load_mnist"]

BUNDLED_TRAIN_SIZE = 8_000
"""Number of bundled training images. The other 2,000 images are for the test."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Mnist:
    """The images of MNIST before any permutation.

    Attributes:
        train_images: uint8 (N, 28, 28); N is 60,000, or 8,000 of the bundled set.
        train_labels: int64 (N,), 0 to 9.
        test_images: uint8 (M, 28, 28); M is 10,000, or 2,000 of the bundled set.
        test_labels: int64 (M,).
        source: `cache` for the file in the data directory, `bundled` for the package's own images.
    """

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    source: Source

    @property
    def train_size(self) -> int:
        """Number of training images."""
        return len(self.train_labels)

    @property
    def test_size(self) -> int:
        """Number of test images."""
        return len(self.test_labels)


def load_mnist(data_dir: Path | None = None) -> Mnist:
    """Load the images of the challenge. They stay in memory.

    Args:
        data_dir: Folder that may contain `mnist.npz`. The default is the folder in `ML_TRAINER_DATA_DIR`.

    Raises:
        DatasetError: The file is damaged.
    """
    named = os.environ.get("ML_TRAINER_DATA_DIR")
    folder = data_dir if data_dir is not None else Path(named) if named else None
    return _load(folder / file_name(DatasetName.MNIST) if folder is not None else None)


@functools.lru_cache(maxsize=2)
def _load(file: Path | None) -> Mnist:
    if file is not None and file.exists():
        full = read_image_set(file, DatasetName.MNIST)
        return Mnist(full.train_images, full.train_labels, full.test_images, full.test_labels, Source.CACHE)
    _LOG.warning(
        "full MNIST is not there (%s): the challenge uses the 10,000 bundled images, 8,000 to train and 2,000 to test; "
        "accuracies are lower than on all of MNIST",
        f"no {file}" if file else "ML_TRAINER_DATA_DIR names no folder",
    )
    images, labels = bundled_mnist()
    at = BUNDLED_TRAIN_SIZE
    return Mnist(images[:at], labels[:at], images[at:], labels[at:], Source.BUNDLED)
