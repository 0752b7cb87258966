"""The values of the dataset layer: what a task asks for, what it gets, and where images may come from."""

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
"""Every data set here has ten classes."""


class ExampleKind(StrEnum):
    """What an example is."""

    IMAGES = "images"
    """A picture: uint8 (H, W) or (H, W, C)."""

    TABLES = "tables"
    """A row of a table: float32 (columns,)."""

    SEQUENCES = "sequences"
    """Channels that were measured over time: float32 (length, channels)."""

    TOKENS = "tokens"
    """A text as whole numbers below the size of a vocabulary: (length,)."""


class TargetKind(StrEnum):
    """What is to be predicted."""

    CLASSES = "classes"
    """The class of an example: labels (N,)."""

    NEXT_TOKEN = "next_token"
    """The token that follows each token of an example: labels (N, length)."""


class DatasetName(StrEnum):
    """The data sets a task can ask for; the value is the stem of the file in the data directory."""

    MNIST = "mnist"
    """Handwritten digits, 28 x 28 grey."""

    FASHION_MNIST = "fashion_mnist"
    """Articles of clothing, 28 x 28 grey."""

    CIFAR10 = "cifar10"
    """Photographs of animals and vehicles, 32 x 32 colour."""


class Source(StrEnum):
    """Where the images of a task came from."""

    BUNDLED = "bundled"
    """The small sets inside this package."""

    CACHE = "cache"
    """A file in the data directory that was there before this process looked."""

    DOWNLOAD = "download"
    """A file that this process downloaded into the data directory."""

    SYNTHETIC = "synthetic"
    """The procedural stand-in: not the data set of that name, but drawn images of like difficulty."""


IMAGE_SHAPES: dict[DatasetName, tuple[int, ...]] = {
    DatasetName.MNIST: (28, 28),
    DatasetName.FASHION_MNIST: (28, 28),
    DatasetName.CIFAR10: (32, 32, 3),
}
"""The shape of one image."""


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """What a task asks for.

    Attributes:
        dataset: Which data set.
        train_size: How many images to train on.
        validation_size: How many images the agent is shown the accuracy of.
        test_size: How many held-out images.
        seed: The seed of the draw, at least 0: the task's own, never that of an episode.
        instead: What to ask for where the data directory has no file, for a task that would rather have all images and
            makes do with the bundled ones. None: there is nothing else to ask for.
    """

    dataset: DatasetName
    train_size: int
    validation_size: int
    test_size: int
    seed: int
    instead: "ImageRequest | None" = None

    @property
    def total_size(self) -> int:
        """How many images, all parts together."""
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
        source: Where the examples came from.
        checksum: `checksum_arrays` of the six arrays: the same content has the same checksum, whatever the source.
        kind: What an example is.
        target: What is to be predicted.
        outputs: Number of classes, or of tokens to choose the next one from.
        vocabulary: Number of different tokens; 0 for examples that are not tokens.
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
    """A place to download a data set from, instead of its official one.

    Attributes:
        dataset: Which data set it serves.
        url: The address of the folder that holds the original files (`train-images-idx3-ubyte.gz` and its three
            siblings, or `cifar-10-binary.tar.gz`).
        md5: (file name, MD5 hex) of files whose content is not the official one, which only tests need.
    """

    dataset: DatasetName
    url: str
    md5: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Where images may come from.

    Attributes:
        data_dir: The directory of `mnist.npz`, `fashion_mnist.npz` and `cifar10.npz`, where downloads land too.
            `None`: there is none, and nothing is downloaded.
        download: Whether the network may be asked.
        download_timeout_s: Time limit of one download, in seconds, from the first connection to the finished file,
            waiting for another process that downloads the same included.
        mirrors: Other places to download from, at most one a data set.
    """

    data_dir: Path | None = None
    download: bool = False
    download_timeout_s: float = 120.0
    mirrors: tuple[Mirror, ...] = ()


def checksum_arrays(*arrays: npt.NDArray[np.uint8] | npt.NDArray[np.int64]) -> str:
    """Returns the SHA-256, in hex, of the arrays' types, shapes and contents, in the order given."""
    digest = hashlib.sha256()
    for array in arrays:
        portable = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{portable.dtype.str}{portable.shape};".encode())
        digest.update(portable.data)
    return digest.hexdigest()
