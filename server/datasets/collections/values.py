"""The values of the collections: what one holds, its examples, and how many of them a task needs at least."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_trainer_env.server.datasets.values import ExampleKind, Labels, Source, TargetKind

__all__ = ["SMALL_SET", "USUAL", "Collection", "Pool", "SizeFloor"]


@dataclass(frozen=True, slots=True)
class SizeFloor:
    """The fewest examples that a task of a collection may have.

    Attributes:
        train: Training examples.
        validation: Validation examples.
        test: Hidden test examples.
    """

    train: int
    validation: int
    test: int


USUAL = SizeFloor(train=200, validation=200, test=300)
"""The floor of every collection that is large enough."""

SMALL_SET = SizeFloor(train=150, validation=80, test=180)
"""The floor of collections with fewer than 700 examples."""


@dataclass(frozen=True, slots=True)
class Collection:
    """A set of labelled examples that tasks draw from.

    Attributes:
        name: Name of the collection.
        kind: Kind of an example.
        title: What an example and its class are, as one plain sentence.
        shape: Shape of one example as the network sees it.
        class_names: Name of each class, in the order of the labels. With the target NEXT_TOKEN a class is a group of
            texts.
        licence: Licence of the data.
        origin: Package that the data comes from, with its version, and who made the data.
        counts: Number of examples of each class that training and validation draw from; for collections with one pool
            the hidden test draws from them too.
        test_counts: Number of examples of each class that only the hidden test draws from. Empty for one pool.
        target: What a network predicts.
        vocabulary: Number of different tokens; 0 if examples are not tokens.
        source: SYNTHETIC for examples that this package generates, otherwise BUNDLED.
        test_only: Whether only the split `test` may draw from this collection.
        apart: What training and hidden test examples never share, as a plain phrase. Empty for one pool.
        floor: Fewest examples of a task.
    """

    name: str
    kind: ExampleKind
    title: str
    shape: tuple[int, ...]
    class_names: tuple[str, ...]
    licence: str
    origin: str
    counts: tuple[int, ...] = ()
    test_counts: tuple[int, ...] = ()
    target: TargetKind = TargetKind.CLASSES
    vocabulary: int = 0
    source: Source = Source.BUNDLED
    test_only: bool = False
    apart: str = ""
    floor: SizeFloor = USUAL

    @property
    def class_count(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def has_test_pool(self) -> bool:
        """Whether hidden test examples come from a pool of their own."""
        return bool(self.test_counts)

    @property
    def example_count(self) -> int:
        """Number of examples in all."""
        return sum(self.counts) + sum(self.test_counts)

    @property
    def fewest_classes(self) -> int:
        """Smallest number of classes, at least 2, for which any choice of classes can serve the floor in equal shares.

        It is `class_count` where no smaller number is certain to do.
        """
        for classes in range(2, self.class_count):
            train, validation, test = (
                -(-size // classes) for size in (self.floor.train, self.floor.validation, self.floor.test)
            )
            if self.has_test_pool:
                enough = min(self.counts) >= train + validation and min(self.test_counts) >= test
            else:
                enough = min(self.counts) >= train + validation + test
            if enough:
                return classes
        return self.class_count


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The examples of a collection. The arrays are read-only, because every caller in the process shares them.

    Attributes:
        inputs: uint8 images (N, H, W) or (N, H, W, 3); float32 tables (N, columns), standardised by column; float32
            sequences (N, length, channels), standardised by channel; unsigned tokens (N, length), for the target
            NEXT_TOKEN (N, length + 1).
        labels: Classes, (N,).
        in_test: bool (N,): whether only the hidden test may use an example. None for one pool.
    """

    inputs: npt.NDArray[Any]
    labels: Labels
    in_test: npt.NDArray[np.bool_] | None = None
