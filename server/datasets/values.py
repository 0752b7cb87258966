"""The values of the data sets: requests, examples, sources and settings."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "CLASS_COUNT",
    "IMAGE_SHAPES",
    "DataSettings",
    "DatasetName",
    "ExampleKind",
    "ImageRequest",
    "Images",
    "Labels",
    "Mirror",
    "Source",
    "TargetKind",
    "TaskExamples",
    "checksum_arrays",
]

Images = npt.NDArray[np.uint8]
"""Pixels, 0 to 255: (N, 28, 28) grey or (N, 32, 32, 3) colour."""

Labels = npt.NDArray[np.int64]
"""Classes, 0 to 9: (N,)."""

CLASS_COUNT = 10
"""Number of classes of every data set here."""


class ExampleKind(StrEnum):
    """The kind of an example."""

    IMAGES = "images"
    """A picture: uint8 (H, W) or (H, W, C)."""

    TABLES = "tables"
    """A row of a table: float32 (columns,)."""

    SEQUENCES = "sequences"
    """A time series: float32 (length, channels)."""

    TOKENS = "tokens"
    """A text as integers below the size of a vocabulary: (length,)."""


class TargetKind(StrEnum):
    """What a network predicts."""

    CLASSES = "classes"
    """The class of an example: labels (N,)."""

    NEXT_TOKEN = "next_token"
    """The token that follows each token of an example: labels (N, length)."""


class DatasetName(StrEnum):
    """The data sets. The value is the stem of the file in the data directory."""

    MNIST = "mnist"
    """Handwritten digits, 28 x 28 grey."""

    FASHION_MNIST = "fashion_mnist"
    """Articles of clothing, 28 x 28 grey."""

    CIFAR10 = "cifar10"
    """Photographs of animals and vehicles, 32 x 32 colour."""


class Source(StrEnum):
    """The source of a task's images."""

    BUNDLED = "bundled"
    """The small sets in this package."""

    CACHE = "cache"
    """An existing file in the data directory."""

    DOWNLOAD = "download"
    """A file that this process downloaded into the data directory."""

    SYNTHETIC = "synthetic"
    """The procedural stand-in: generated images of similar difficulty, not the data set of that name."""


IMAGE_SHAPES: dict[DatasetName, tuple[int, ...]] = {
    DatasetName.MNIST: (28, 28),
    DatasetName.FASHION_MNIST: (28, 28),
    DatasetName.CIFAR10: (32, 32, 3),
}
"""The shape of one image."""


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A request for the images of a task.

    Attributes:
        dataset: Which data set.
        train_size: Number of training images.
        validation_size: Number of validation images, whose accuracy the agent sees.
        test_size: Number of held-out images.
        seed: Seed of the draw, at least 0. It belongs to the task, not to an episode.
        instead: Smaller request that replaces this one if the data directory has no file and the bundled sets are too
            small. None for no replacement.
    """

    dataset: DatasetName
    train_size: int
    validation_size: int
    test_size: int
    seed: int
    instead: "ImageRequest | None" = None

    @property
    def total_size(self) -> int:
        """Total number of images."""
        return self.train_size + self.validation_size + self.test_size


@dataclass(frozen=True, slots=True, eq=False)
class TaskExamples:
    """The examples of a task.

    The arrays are C-contiguous and read-only, because every caller in the process shares them (`torch.tensor` copies
    them; `torch.from_numpy` warns about a read-only array).

    Attributes:
        train_inputs: uint8 (N, 28, 28) or (N, 32, 32, 3) for images.
        train_labels: int64 (N,), 0 to 9.
        validation_inputs: As `train_inputs`.
        validation_labels: As `train_labels`.
        test_inputs: Held out; as `train_inputs`.
        test_labels: Held out; as `train_labels`.
        source: Source of the examples.
        checksum: `checksum_arrays` of the six arrays. It does not depend on the source.
        kind: Kind of an example.
        target: What a network predicts.
        outputs: Number of classes, or of possible next tokens.
        vocabulary: Number of different tokens; 0 if examples are not tokens.
    """

    train_inputs: npt.NDArray[Any]
    train_labels: Labels
    validation_inputs: npt.NDArray[Any]
    validation_labels: Labels
    test_inputs: npt.NDArray[Any]
    test_labels: Labels
    source: Source
    checksum: str
    kind: ExampleKind = ExampleKind.IMAGES
    target: TargetKind = TargetKind.CLASSES
    outputs: int = CLASS_COUNT
    vocabulary: int = 0


@dataclass(frozen=True, slots=True)
class Mirror:
    """A server to download a data set from, in place of the official one.

    Attributes:
        dataset: The data set.
        url: URL of the folder with the original files (`train-images-idx3-ubyte.gz` and its three
            siblings, or `cifar-10-binary.tar.gz`).
        md5: (file name, MD5 hex) of files that differ from the official ones, for tests.
    """

    dataset: DatasetName
    url: str
    md5: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Settings for the sources of images.

    Attributes:
        data_dir: Directory of `mnist.npz`, `fashion_mnist.npz` and `cifar10.npz`, also for downloads. If None, nothing
            is downloaded.
        download: Whether downloads are allowed.
        download_timeout_s: Time limit of one download, in seconds, from the first connection to the finished file. It
            includes waiting for another process that downloads the same data set.
        mirrors: Mirrors, at most one per data set.
    """

    data_dir: Path | None = None
    download: bool = False
    download_timeout_s: float = 120.0
    mirrors: tuple[Mirror, ...] = ()


def checksum_arrays(*arrays: npt.NDArray[Any]) -> str:
    """Return the SHA-256, in hex, of the arrays' types, shapes and contents, in the order given."""
    digest = hashlib.sha256()
    for array in arrays:
        portable = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{portable.dtype.str}{portable.shape};".encode())
        digest.update(portable.data)
    return digest.hexdigest()
