"""Draws the images of a task from a data set. Pure functions of arrays and a seed.

A file may hold a data set in its original order or sorted by class. Therefore images are first sorted canonically, by
their SHA-256, and then drawn by the task's seed.

The draw sorts by raw 64-bit words from PCG64. numpy keeps the words of a bit generator the same between versions, but
not the results of `Generator.permutation` (NEP 19). The bundled Fashion-MNIST is such a draw, so it must be repeatable.
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
"""Size of the bundled pool: the first training images of MNIST.

A task that fits the pool draws from it alone, so that it gets the same images from every source."""

Indices = npt.NDArray[np.intp]

_Array = TypeVar("_Array", Images, Labels)


def fits_pool(request: ImageRequest) -> bool:
    """Whether a request is for MNIST and fits the pool."""
    return request.dataset is DatasetName.MNIST and request.total_size <= MNIST_POOL_SIZE


def order_canonically(images: Images, labels: Labels) -> Indices:
    """Return the (N,) indices that sort images by the SHA-256 of their pixels and label.

    Only identical images with identical labels have equal keys, so the result depends on the set of images alone.
    """
    keys = [
        hashlib.sha256(image.tobytes() + bytes([label])).digest() for image, label in zip(images, labels, strict=True)
    ]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.intp)


def permute(size: int, seed: int) -> Indices:
    """Return a permutation of `range(size)` by `seed`: the sort order of the first `size` words of PCG64."""
    return np.argsort(np.random.PCG64(seed).random_raw(size), kind="stable")


def draw_from_set(request: ImageRequest, images: ImageSet, source: Source) -> TaskExamples:
    """Draw a task's images from a whole data set.

    A request that fits the MNIST pool draws from the pool alone (`draw_from_pool`). Other requests draw training and
    validation images from the whole training set. Their held-out images are the first test images of the file.

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
    """Draw training, validation and held-out images from one pool, in this order, without replacement.

    Raises:
        DatasetError: The pool is smaller than the request.
    """
    _check_size(
        "images in the pool of training, validation and held-out images", request.total_size, len(labels), request
    )
    order = order_canonically(images, labels)
    drawn = order[permute(len(order), request.seed)[: request.total_size]]
    return split_into_parts(request, images[drawn], labels[drawn], source)


def split_into_parts(request: ImageRequest, images: Images, labels: Labels, source: Source) -> TaskExamples:
    """Split images in their final order into read-only training, validation and held-out parts with a checksum.

    Args:
        request: Has the three sizes.
        images: uint8 (N, ...), N at least the sum of the three.
        labels: (N,), converted to int64.
        source: Source of the images.
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
    """Return a C-contiguous, read-only copy."""
    copy = array.copy(order="C")
    copy.setflags(write=False)
    return copy


def _check_size(what: str, wanted: int, available: int, request: ImageRequest) -> None:
    if available < wanted:
        raise DatasetError(
            f"{request.dataset} needs at least {wanted:,} {what} for {request}, and there are {available:,}. "
            "Ask for fewer, or put a larger file into the data directory."
        )
