"""Small data sets on which the laws of the trainer can be seen in milliseconds."""

import numpy as np
import pytest
import torch

from ml_trainer_env.native import Library
from ml_trainer_env.server.trainer.data import TensorData
from ml_trainer_env.server.trainer.errors import KernelError
from ml_trainer_env.server.trainer.examples import Examples
from ml_trainer_env.server.trainer.kernels import chosen_kernels
from ml_trainer_env.server.trainer.kinds import AugmentationKind, Kernels
from ml_trainer_env.server.trainer.network_specs import NETWORKS

TORCH_THREADS = 2

KINDS = {
    "simple_mlp": AugmentationKind.DIGITS,
    "small_cnn": AugmentationKind.CLOTHES,
    "deeper_cnn": AugmentationKind.OBJECTS,
    "batch_norm_mlp": AugmentationKind.SCATTERED,
}


def small_images(network: str, train: int = 150, validation: int = 40) -> Examples:
    """Blobs whose place tells their class, in the shape that the network wants."""
    source = np.random.default_rng(7)
    side, channels = (32, 3) if network == "deeper_cnn" else (28, 1)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = source.integers(0, 10, count)
        images = source.integers(0, 60, (count, side, side, channels), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 4)
            image[row * 8 : row * 8 + 6, column * 6 : column * 6 + 5] += 150
        return (images if channels == 3 else images[..., 0]), labels.astype(np.int64)

    (a, b), (c, d), (e, f) = draw(train), draw(validation), draw(validation)
    return Examples(f"small-{network}", KINDS[network], a, b, c, d, e, f)


@pytest.fixture(scope="session")
def images() -> dict[str, Examples]:
    return {network: small_images(network) for network in NETWORKS}


@pytest.fixture(scope="session", params=[Kernels.TORCH, Kernels.NATIVE])
def kernels(request: pytest.FixtureRequest) -> Library | None:
    """What computes: the laws of the trainer hold for both."""
    torch.set_num_threads(TORCH_THREADS)
    try:
        return chosen_kernels(request.param)
    except KernelError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def tensors(images: dict[str, Examples], kernels: Library | None) -> dict[str, TensorData]:
    return {network: TensorData(arrays, kernels=kernels) for network, arrays in images.items()}
