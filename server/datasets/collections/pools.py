"""Loads the examples of a collection: one loader for images, tables, sequences and tokens.

A collection is either a bundled file of its own name, with the arrays `inputs` and `labels` and, where the hidden test
has examples of its own, `in_test`; or it is made of other bundled files or drawn (`pictures.py`, `series.py`).
"""

import functools
from typing import Any

import numpy as np

from ml_trainer_env.server.datasets.bundled import read_bundled
from ml_trainer_env.server.datasets.collections.catalogue import find_collection
from ml_trainer_env.server.datasets.collections.pictures import PICTURES
from ml_trainer_env.server.datasets.collections.series import SERIES
from ml_trainer_env.server.datasets.collections.values import Collection, Pool
from ml_trainer_env.server.datasets.errors import DatasetError
from ml_trainer_env.server.datasets.values import ExampleKind, TargetKind

__all__ = ["count_by_class", "load_pool", "make_pool"]

_CACHED = 8  # pools; the largest has about 10 MB

_DTYPES = {
    ExampleKind.IMAGES: "uint8",
    ExampleKind.TABLES: "float32",
    ExampleKind.SEQUENCES: "float32",
    ExampleKind.TOKENS: "uint16",
}


@functools.lru_cache(maxsize=_CACHED)
def load_pool(name: str) -> Pool:
    """Return the examples of a collection. The latest few pools are cached in memory.

    Raises:
        DatasetError: There is no such collection, or its bundled file is missing, damaged, or not what the catalogue
            says.
    """
    collection = find_collection(name)
    pool = make_pool(name)
    _check_pool(collection, pool)
    for array in (pool.inputs, pool.labels, pool.in_test):
        if array is not None:
            array.setflags(write=False)
    return pool


def make_pool(name: str) -> Pool:
    """Return the examples of a collection, neither cached nor compared with the catalogue.

    Raises:
        DatasetError: Its bundled file is missing or damaged.
    """
    make = PICTURES.get(name) or SERIES.get(name)
    if make is not None:
        return make()
    arrays = read_bundled(f"{name}.npz")
    try:
        return Pool(arrays["inputs"], arrays["labels"].astype(np.int64), arrays.get("in_test"))
    except KeyError as error:
        raise DatasetError(f"The bundled {name}.npz should have the array {error}, and does not.") from error


def count_by_class(pool: Pool, classes: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the number of examples of each class outside of the hidden test's pool, and in it."""
    if pool.in_test is None:
        return _bincount(pool.labels, classes), ()
    return _bincount(pool.labels[~pool.in_test], classes), _bincount(pool.labels[pool.in_test], classes)


def _bincount(labels: np.ndarray[Any, Any], classes: int) -> tuple[int, ...]:
    return tuple(np.bincount(labels, minlength=classes).tolist())


def _check_pool(collection: Collection, pool: Pool) -> None:
    """Raise DatasetError unless a pool is as the catalogue says."""
    shape = collection.shape
    if collection.target is TargetKind.NEXT_TOKEN:
        shape = (shape[0] + 1,)
    expected = (_DTYPES[collection.kind], shape, collection.counts, collection.test_counts)
    found = (str(pool.inputs.dtype), pool.inputs.shape[1:], *count_by_class(pool, collection.class_count))
    if found != expected:
        raise DatasetError(
            f"{collection.name} should have the type, shape and counts {expected} and has {found}. "
            "Reinstall the package, or run scripts/build_collections.py."
        )
