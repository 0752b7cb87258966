"""The draw: which images of a data set a task gets. Pure: arrays and a seed in, arrays out.

A data set may come in its original order or sorted by class, whole or only as the part a task needs. Images are
therefore put into a canonical order first, the order of their SHA-256, and drawn by the task's seed after that.

The draw takes raw 64-bit words from PCG64 and sorts by them. numpy promises that the words of a bit generator stay the
same between versions, and does not promise it for `Generator.permutation` (NEP 19); the bundled Fashion-MNIST is a
draw made once, so it has to be repeatable for ever.
"""

import hashlib
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ml_trainer_env.server.datasets.errors import DatasetError
from ml_trainer_env.server.datasets.npz import ImageSet
from ml_trainer_env.server.datasets.values import (
    DatasetName,
    ImageRequest,
    Images,
    Labels,
    Source,
    TaskExamples,
    checksum_arrays,
)

__all__ = [
    "MNIST_POOL_SIZE",
    "draw_from_pool",
    "draw_from_set",
    "fits_pool",
    "order_canonically",
    "permute",
    "split_into_parts",
]

MNIST_POOL_SIZE = 10_000
"""The first so many training images of MNIST, which this package carries. A task that they suffice for draws from them
alone, so that it gets the same images from every source."""

Indices = npt.NDArray[np.intp]

_Array = TypeVar("_Array", Images, Labels)


def fits_pool(request: ImageRequest) -> bool:
    """Tells whether a request is one for MNIST that the pool suffices for."""
    return request.dataset is DatasetName.MNIST and request.total_size <= MNIST_POOL_SIZE


def order_canonically(images: Images, labels: Labels) -> Indices:
    """Returns the (N,) indices that sort images by the SHA-256 of their pixels and label.

    Two images share a place only if they and their labels are identical, so the sorted content depends on the set of
    images alone.
    """
    keys = [
        hashlib.sha256(image.tobytes() + bytes([label])).digest() for image, label in zip(images, labels, strict=True)
    ]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.intp)


def permute(size: int, seed: int) -> Indices:
    """Returns a permutation of `range(size)` drawn by `seed`: the order of the first `size` words of PCG64."""
    return np.argsort(np.random.PCG64(seed).random_raw(size), kind="stable")


def draw_from_set(request: ImageRequest, images: ImageSet, source: Source) -> TaskExamples:
    """Draws a task's images from a whole data set.

    A request that the first 10,000 training images of MNIST suffice for draws from these alone (`draw_from_pool`). The
    others draw training and validation images from the whole training set, and their held-out images are the first test
    images of the file.

    Raises:
        DatasetError: The data set has fewer images than the request needs.
    """
    if fits_pool(request):
        _check_size("training images", MNIST_POOL_SIZE, len(images.train_labels), request)
        pool = slice(MNIST_POOL_SIZE)
        return draw_from_pool(request, images.train_images[pool], images.train_labels[pool], source)
    drawn_size = request.train_size + request.validation_size
    _check_size("training images", drawn_size, len(images.train_labels), request)
    _check_size("test images", request.test_size, len(images.test_labels), request)
    order = order_canonically(images.train_images, images.train_labels)
    drawn = order[permute(len(order), request.seed)[:drawn_size]]
    return split_into_parts(
        request,
        np.concatenate([images.train_images[drawn], images.test_images[: request.test_size]]),
        np.concatenate([images.train_labels[drawn], images.test_labels[: request.test_size]]),
        source,
    )


def draw_from_pool(request: ImageRequest, images: Images, labels: Labels, source: Source) -> TaskExamples:
    """Draws training, validation and held-out images from one pool, in this order, none of them twice.

    Raises:
        DatasetError: The pool is smaller than the three together.
    """
    _check_size(
        "images in the pool of training, validation and held-out images", request.total_size, len(labels), request
    )
    order = order_canonically(images, labels)
    drawn = order[permute(len(order), request.seed)[: request.total_size]]
    return split_into_parts(request, images[drawn], labels[drawn], source)


def split_into_parts(request: ImageRequest, images: Images, labels: Labels, source: Source) -> TaskExamples:
    """Cuts images in their final order into training, validation and held-out ones, frozen and checksummed.

    Args:
        request: Tells the three sizes.
        images: uint8 (N, ...), N at least the sum of the three.
        labels: (N,), converted to int64.
        source: Where the images came from.
    """
    first = request.train_size
    second = first + request.validation_size
    third = second + request.test_size
    parts: list[tuple[Images, Labels]] = [
        (_freeze(images[cut]), _freeze(labels[cut].astype(np.int64)))
        for cut in (slice(0, first), slice(first, second), slice(second, third))
    ]
    (train, train_labels), (validation, validation_labels), (test, test_labels) = parts
    return TaskExamples(
        train_inputs=train,
        train_labels=train_labels,
        validation_inputs=validation,
        validation_labels=validation_labels,
        test_inputs=test,
        test_labels=test_labels,
        source=source,
        checksum=checksum_arrays(train, train_labels, validation, validation_labels, test, test_labels),
    )


def _freeze(array: _Array) -> _Array:
    """Returns a C-contiguous, read-only copy."""
    copy = array.copy(order="C")
    copy.setflags(write=False)
    return copy


def _check_size(what: str, wanted: int, available: int, request: ImageRequest) -> None:
    if available < wanted:
        raise DatasetError(
            f"{request.dataset} needs at least {wanted:,} {what} for {request}, and there are {available:,}. "
            "Ask for fewer, or put a larger file into the data directory."
        )
