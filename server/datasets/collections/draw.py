"""Draws the examples of a task from a collection. Pure functions of a value, the same on every machine.

Each class has a random order of its own, made of the draw's seed and the class. So the examples of a class do not
depend on the other classes of a draw, and the order of `classes` decides their labels alone.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_trainer_env.server.datasets.collections.catalogue import find_collection
from ml_trainer_env.server.datasets.collections.corruption import corrupt, replace_labels
from ml_trainer_env.server.datasets.collections.pools import load_pool
from ml_trainer_env.server.datasets.collections.values import Collection, Pool
from ml_trainer_env.server.datasets.errors import DatasetError
from ml_trainer_env.server.datasets.random_stream import RandomStream
from ml_trainer_env.server.datasets.values import ExampleKind, TargetKind, TaskExamples, checksum_arrays

__all__ = ["ExampleDraw", "draw_examples", "fit_sizes", "share_by_class"]

# First numbers of the seeds of a draw's streams.
_PICK, _PICK_TEST, _ORDER, _NOISE, _CORRUPTION = range(5)

_STEPS = 250  # sizes that `fit_sizes` tries between those wanted and the floor

_CACHED_SHARES = 16_384  # results of `share_by_class`, which `fit_sizes` asks for again and again

_Array = npt.NDArray[Any]
_Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class ExampleDraw:
    """Which examples of a collection a task has.

    Attributes:
        collection: Name of the collection.
        classes: Classes of the collection in the order of the task's labels: an example of `classes[i]` has label i.
        train_size: Number of training examples.
        validation_size: Number of validation examples, in equal shares by class.
        test_size: Number of hidden test examples, in equal shares by class.
        label_noise: Share of the training labels that is replaced by another class, drawn uniformly; for the target
            NEXT_TOKEN by another token. 0 to 1.
        imbalance: Training examples of the most frequent class for each one of the least frequent class, at least 1.
            `classes[0]` is the most frequent; the numbers fall geometrically.
        corruption: Noise of the inputs of all three parts. Tables and sequences: standard deviation of Gaussian noise,
            in units of a column's or channel's own. Images: the same, as a share of the range of a pixel. Tokens: share
            that is replaced by random ones, at most 1.
        seed: Seed of the draw, at least 0.
    """

    collection: str
    classes: tuple[int, ...]
    train_size: int
    validation_size: int
    test_size: int
    label_noise: float = 0.0
    imbalance: float = 1.0
    corruption: float = 0.0
    seed: int = 0


def draw_examples(draw: ExampleDraw) -> TaskExamples:
    """Return the examples of a draw. The three parts never share an example of the collection.

    Raises:
        DatasetError: The collection or a class does not exist, a number is out of range, the classes have too few
            examples (`fit_sizes` tells how many they have), or a bundled file is missing or damaged.
    """
    collection = find_collection(draw.collection)
    _check_draw(collection, draw)
    sizes = (draw.train_size, draw.validation_size, draw.test_size)
    lacking = _find_lack(collection, draw.classes, sizes, draw.imbalance)
    if lacking:
        raise DatasetError(f"{draw.collection} has too few examples for {draw}: {lacking}. Use fit_sizes.")
    pool = load_pool(draw.collection)
    parts: list[tuple[_Array, _Array]] = []
    for number, chosen in enumerate(_pick(pool, draw)):
        inputs, labels = _cut_part(pool.inputs[chosen], _relabel(pool, chosen, draw.classes), collection)
        if number == 0:
            labels = replace_labels(
                labels, draw.label_noise, _outputs(collection, draw), RandomStream((_NOISE, draw.seed))
            )
        stream = RandomStream((_CORRUPTION, draw.seed, number))
        inputs = corrupt(inputs, draw.corruption, collection.kind, collection.vocabulary, stream)
        parts.append((_freeze(inputs), _freeze(labels)))
    (train, train_labels), (validation, validation_labels), (test, test_labels) = parts
    return TaskExamples(
        train_inputs=train,
        train_labels=train_labels,
        validation_inputs=validation,
        validation_labels=validation_labels,
        test_inputs=test,
        test_labels=test_labels,
        source=collection.source,
        checksum=checksum_arrays(train, train_labels, validation, validation_labels, test, test_labels),
        kind=collection.kind,
        target=collection.target,
        outputs=_outputs(collection, draw),
        vocabulary=collection.vocabulary,
    )


def fit_sizes(
    collection: str, classes: tuple[int, ...], train: int, validation: int, test: int, imbalance: float = 1.0
) -> tuple[int, int, int]:
    """Return the largest sizes, up to those wanted, that these classes can serve: train, validation and test.

    The three sizes shrink together, each from the number wanted towards the floor of the collection.

    Args:
        collection: Name of the collection.
        classes: Classes of the task, in the order of its labels.
        train: Number of training examples wanted, at least the floor's.
        validation: Number of validation examples wanted, at least the floor's.
        test: Number of hidden test examples wanted, at least the floor's.
        imbalance: As in `ExampleDraw`.

    Raises:
        DatasetError: The collection or a class does not exist, or sizes at the floor are too large for the classes, or
            fewer examples are wanted than the floor.
    """
    found = find_collection(collection)
    _check_classes(found, classes)
    least = (found.floor.train, found.floor.validation, found.floor.test)
    wanted = (train, validation, test)
    if any(size < floor for size, floor in zip(wanted, least, strict=True)):
        raise DatasetError(
            f"{collection} needs at least {least} train, validation and test examples, and {wanted} are wanted"
        )
    lacking = ""
    for step in range(_STEPS, -1, -1):
        first, second, third = (
            floor + (size - floor) * step // _STEPS for size, floor in zip(wanted, least, strict=True)
        )
        lacking = _find_lack(found, classes, (first, second, third), imbalance)
        if not lacking:
            return first, second, third
    raise DatasetError(
        f"{collection} needs at least {least} train, validation and test examples, and the classes {classes} with "
        f"imbalance {imbalance} have too few: {lacking}. Choose more classes, or a smaller imbalance."
    )


@lru_cache(maxsize=_CACHED_SHARES)
def share_by_class(size: int, classes: int, imbalance: float = 1.0) -> tuple[int, ...]:
    """Return how many of `size` examples each class has: in equal shares, or falling geometrically.

    >>> share_by_class(10, 3)
    (4, 3, 3)
    >>> share_by_class(70, 3, imbalance=4.0)
    (40, 20, 10)
    """
    # Rounded, because the last bit of a power differs between machines.
    weights = [round(imbalance ** (-number / max(classes - 1, 1)), 9) for number in range(classes)]
    exact = [size * weight / sum(weights) for weight in weights]
    counts = [int(share) for share in exact]
    by_rest = sorted(range(classes), key=lambda number: (round(counts[number] - exact[number], 9), number))
    for number in by_rest[: size - sum(counts)]:
        counts[number] += 1
    return tuple(counts)


def _check_draw(collection: Collection, draw: ExampleDraw) -> None:
    _check_classes(collection, draw.classes)
    if min(draw.train_size, draw.validation_size, draw.test_size) < 1 or draw.seed < 0:
        raise DatasetError(f"sizes should be at least 1 and the seed at least 0, not as in {draw}")
    if not 0 <= draw.label_noise <= 1 or not 1 <= draw.imbalance < float("inf"):
        raise DatasetError(f"label noise should be 0 to 1 and imbalance at least 1, not as in {draw}")
    limit = 1.0 if collection.kind is ExampleKind.TOKENS else 100.0
    if not 0 <= draw.corruption <= limit:
        raise DatasetError(f"corruption of {collection.kind} should be 0 to {limit:g}, not {draw.corruption}")


def _check_classes(collection: Collection, classes: tuple[int, ...]) -> None:
    """Raise DatasetError unless there is a class at least, and each exists and is named once."""
    known = len(set(classes)) == len(classes) and all(0 <= label < collection.class_count for label in classes)
    fewest = 1 if collection.target is TargetKind.NEXT_TOKEN else 2
    if not known or len(classes) < fewest:
        raise DatasetError(
            f"classes of {collection.name} should be at least {fewest} different numbers of 0 to "
            f"{collection.class_count - 1}, not {classes}"
        )


def _find_lack(collection: Collection, classes: tuple[int, ...], sizes: tuple[int, int, int], imbalance: float) -> str:
    """Return which class has too few examples for these sizes, in words; nothing if each has enough."""
    train, validation, test = _count(sizes, len(classes), imbalance)
    for number, label in enumerate(classes):
        first, second = train[number] + validation[number], test[number]
        if not collection.has_test_pool:
            first, second = first + second, 0
        if first > collection.counts[label]:
            return f"class {label} would need {first:,} and has {collection.counts[label]:,}"
        if second and second > collection.test_counts[label]:
            return f"class {label} would need {second:,} for the test and has {collection.test_counts[label]:,}"
    return ""


def _count(sizes: tuple[int, int, int], classes: int, imbalance: float) -> tuple[tuple[int, ...], ...]:
    """Return the number of examples of each class in each part."""
    train, validation, test = sizes
    return share_by_class(train, classes, imbalance), share_by_class(validation, classes), share_by_class(test, classes)


def _pick(pool: Pool, draw: ExampleDraw) -> list[_Indices]:
    """Return the places in the pool of each part's examples, in the part's final order."""
    counts = _count((draw.train_size, draw.validation_size, draw.test_size), len(draw.classes), draw.imbalance)
    picked: list[list[_Indices]] = [[], [], []]
    for number, label in enumerate(draw.classes):
        of_class = pool.labels == label
        in_first = of_class if pool.in_test is None else of_class & ~pool.in_test
        places = _shuffle(np.flatnonzero(in_first), RandomStream((_PICK, draw.seed, label)))
        train, validation, test = (count[number] for count in counts)
        picked[0].append(places[:train])
        picked[1].append(places[train : train + validation])
        if pool.in_test is None:
            picked[2].append(places[train + validation : train + validation + test])
        else:
            hidden = np.flatnonzero(of_class & pool.in_test)
            picked[2].append(_shuffle(hidden, RandomStream((_PICK_TEST, draw.seed, label)))[:test])
    return [
        _shuffle(np.concatenate(places), RandomStream((_ORDER, draw.seed, part))) for part, places in enumerate(picked)
    ]


def _shuffle(places: _Indices, stream: RandomStream) -> _Indices:
    return places[np.argsort(stream.floats(len(places)), kind="stable")]


def _relabel(pool: Pool, chosen: _Indices, classes: tuple[int, ...]) -> _Array:
    """Return the task's labels, int64 (N,)."""
    new = np.zeros(max(classes) + 1, np.int64)
    new[list(classes)] = np.arange(len(classes))
    labels: _Array = new[pool.labels[chosen]]
    return labels


def _cut_part(inputs: _Array, labels: _Array, collection: Collection) -> tuple[_Array, _Array]:
    """Return inputs and labels of the task's types; the labels of NEXT_TOKEN are the tokens that follow."""
    if collection.kind is ExampleKind.TOKENS:
        inputs = inputs.astype(np.int64)
    if collection.target is TargetKind.NEXT_TOKEN:
        return inputs[:, :-1], inputs[:, 1:]
    return inputs, labels


def _outputs(collection: Collection, draw: ExampleDraw) -> int:
    """Return the number of classes, or of possible next tokens."""
    return collection.vocabulary if collection.target is TargetKind.NEXT_TOKEN else len(draw.classes)


def _freeze(array: _Array) -> _Array:
    """Return a C-contiguous, read-only copy."""
    copy = array.copy(order="C")
    copy.setflags(write=False)
    return copy
