"""Image data sets, loaded from a file in the data directory, the bundled sets, a download, or a procedural stand-in.

Tasks call `load_images`. The package depends on numpy, not on tasks or training.
"""

from ml_trainer_env.server.datasets.bundled import bundled_mnist
from ml_trainer_env.server.datasets.download import download
from ml_trainer_env.server.datasets.errors import DatasetError, DownloadError
from ml_trainer_env.server.datasets.lookup import load_images
from ml_trainer_env.server.datasets.npz import ImageSet, read_image_set
from ml_trainer_env.server.datasets.permutation import Permutation
from ml_trainer_env.server.datasets.values import (
    DatasetName,
    DataSettings,
    ExampleKind,
    ImageRequest,
    Mirror,
    Source,
    TargetKind,
    TaskExamples,
)

__all__ = [
    "DataSettings",
    "DatasetError",
    "DatasetName",
    "DownloadError",
    "ExampleKind",
    "ImageRequest",
    "ImageSet",
    "Mirror",
    "Permutation",
    "Source",
    "TargetKind",
    "TaskExamples",
    "bundled_mnist",
    "download",
    "load_images",
    "read_image_set",
]
