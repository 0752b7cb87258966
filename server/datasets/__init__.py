"""Data sets: images of named tasks, and the collections that the tuning families draw from.

Named tasks call `load_images`: a file in the data directory, the bundled sets, a download, or a procedural stand-in.
Families call `draw_examples`, which needs none of them but the bundled sets. The package depends on
numpy, not on tasks or training.
"""

from ml_trainer_env.server.datasets.bundled import bundled_mnist
from ml_trainer_env.server.datasets.collections import (
    COLLECTIONS,
    Collection,
    ExampleDraw,
    SizeFloor,
    draw_examples,
    find_collection,
    fit_sizes,
    load_pool,
)
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
    "COLLECTIONS",
    "Collection",
    "DataSettings",
    "DatasetError",
    "DatasetName",
    "DownloadError",
    "ExampleDraw",
    "ExampleKind",
    "ImageRequest",
    "ImageSet",
    "Mirror",
    "Permutation",
    "SizeFloor",
    "Source",
    "TargetKind",
    "TaskExamples",
    "bundled_mnist",
    "download",
    "draw_examples",
    "find_collection",
    "fit_sizes",
    "load_images",
    "load_pool",
    "read_image_set",
]
