"""Reads and writes the files of the data directory: one `.npz` per data set, compressed or not.

The keys are `train_images`, `train_labels`, `test_images` and `test_labels`, all uint8.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ml_trainer_env.server.datasets.errors import DatasetError
from ml_trainer_env.server.datasets.values import (
    CLASS_COUNT,
    IMAGE_SHAPES,
    DatasetName,
    Images,
    Labels,
)

__all__ = ["ImageSet", "file_name", "read_image_set", "write_image_set"]

_KEYS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """A whole data set in the order of its file.

    Attributes:
        train_images: uint8 (N, 28, 28) or (N, 32, 32, 3).
        train_labels: int64 (N,), 0 to 9.
        test_images: As `train_images`.
        test_labels: As `train_labels`.
    """

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels


def file_name(dataset: DatasetName) -> str:
    """Return the name of a data set's file in the data directory."""
    return f"{dataset.value}.npz"


def read_image_set(path: Path, dataset: DatasetName) -> ImageSet:
    """Read and check a data set's file.

    Raises:
        DatasetError: The file cannot be read, or its keys, types, shapes or labels are not those of the data set.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {key: file[key] for key in _KEYS if key in file}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, f"numpy cannot read it ({type(error).__name__}: {error})") from error
    missing = [key for key in _KEYS if key not in arrays]
    if missing:
        raise _damaged(path, f"it has no {', '.join(missing)}")
    for part in ("train", "test"):
        _check_part(path, part, arrays[f"{part}_images"], arrays[f"{part}_labels"], IMAGE_SHAPES[dataset])
    return ImageSet(
        train_images=arrays["train_images"],
        train_labels=arrays["train_labels"].astype(np.int64),
        test_images=arrays["test_images"],
        test_labels=arrays["test_labels"].astype(np.int64),
    )


def write_image_set(path: Path, images: ImageSet) -> None:
    """Write a data set's file, uncompressed for fast reading."""
    np.savez(
        path,
        allow_pickle=False,
        train_images=images.train_images,
        train_labels=images.train_labels.astype(np.uint8),
        test_images=images.test_images,
        test_labels=images.test_labels.astype(np.uint8),
    )


def _check_part(
    path: Path, part: str, images: npt.NDArray[np.generic], labels: npt.NDArray[np.generic], shape: tuple[int, ...]
) -> None:
    """Raise DatasetError unless the images and labels of one part are valid for `ImageSet`."""
    if images.dtype != np.uint8 or images.shape[1:] != shape:
        expected = f"uint8 (N, {', '.join(map(str, shape))})"
        raise _damaged(path, f"{part}_images should be {expected} and is {images.dtype} {images.shape}")
    if labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise _damaged(path, f"{part}_labels should be uint8 {images.shape[:1]} and is {labels.dtype} {labels.shape}")
    if labels.size and int(labels.max()) >= CLASS_COUNT:
        raise _damaged(path, f"{part}_labels should lie in 0 to {CLASS_COUNT - 1} and go up to {labels.max()}")


def _damaged(path: Path, reason: str) -> DatasetError:
    return DatasetError(
        f"{path} should hold {', '.join(_KEYS)} as uint8 arrays, and is damaged: {reason}. "
        "Replace it, or remove it to let the next source serve the images."
    )
