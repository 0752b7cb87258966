"""Small data sets for the tests of the dataset layer, and where a machine's full ones may lie."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ml_trainer_env.server.datasets import DatasetName, DataSettings, ImageRequest, ImageSet


@pytest.fixture
def small_fashion_request() -> ImageRequest:
    return ImageRequest(DatasetName.FASHION_MNIST, train_size=20, validation_size=10, test_size=8, seed=7)


@pytest.fixture
def small_cifar_request() -> ImageRequest:
    return ImageRequest(DatasetName.CIFAR10, train_size=20, validation_size=10, test_size=8, seed=7)


@pytest.fixture
def offline(tmp_path: Path) -> DataSettings:
    return DataSettings(data_dir=tmp_path, download=False)


@pytest.fixture
def full_data() -> DataSettings:
    """The full data sets of a development machine, where there are any."""
    sibling = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("ML_TRAINER_DATA_DIR", sibling))
    if not folder.is_dir():
        pytest.skip(f"there are no full data sets in {folder}")
    return DataSettings(data_dir=folder, download=False)


def random_image_set(dataset: DatasetName, train_size: int = 60, test_size: int = 20, seed: int = 0) -> ImageSet:
    shape = (32, 32, 3) if dataset is DatasetName.CIFAR10 else (28, 28)
    generator = np.random.Generator(np.random.PCG64(seed))
    return ImageSet(
        train_images=generator.integers(0, 256, (train_size, *shape), dtype=np.uint8),
        train_labels=generator.integers(0, 10, train_size),
        test_images=generator.integers(0, 256, (test_size, *shape), dtype=np.uint8),
        test_labels=generator.integers(0, 10, test_size),
    )


@pytest.fixture
def random_images() -> Callable[..., ImageSet]:
    return random_image_set


@pytest.fixture
def fashion_set() -> ImageSet:
    return random_image_set(DatasetName.FASHION_MNIST)


@pytest.fixture
def cifar_set() -> ImageSet:
    return random_image_set(DatasetName.CIFAR10)
