"""Draws instances. A pure function of the split and a number, the same on every machine.

Tables of calibrated tasks hold whole instances, so a change here changes only tasks that are drawn from now on.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

import numpy as np

from ml_trainer_env.server.datasets import (
    COLLECTIONS,
    Collection,
    DatasetError,
    ExampleDraw,
    ExampleKind,
    TargetKind,
    fit_sizes,
)
from ml_trainer_env.server.trainer.changes import Change, ChangeKind
from ml_trainer_env.server.trainer.config import OptimizerKind, TrainingConfig
from ml_trainer_env.server.trainer.kinds import Activation, AugmentationKind, NetworkKind
from ml_trainer_env.server.trainer.network_specs import NetworkSpec
from ml_trainer_env.server.trainer.schedules import LrSchedule
from ml_trainer_env.server.trainer.starts import StartKind, StartSpec
from ml_trainer_env.server.tuning.families.instance import Instance

__all__ = ["CHANGES", "FAMILY_SPLITS", "FAMILY_VERSION", "TEST_ONLY_NETWORKS", "draw_instance", "split_of"]

FAMILY_SPLITS = ("train", "validation", "test")
"""The splits of the family."""

TEST_ONLY_NETWORKS = frozenset({NetworkKind.TRANSFORMER})
"""Kinds of networks that appear in the split `test` alone."""

FAMILY_VERSION = 1
"""Version of the family. It is raised when the tables are calibrated again with other draws."""

_SHARES = {"train": 66, "validation": 17, "test": 17}
"""Percent of all contents by split."""

_AUGMENTATIONS: Mapping[str, AugmentationKind] = {
    "digits": AugmentationKind.DIGITS,
    "clothes": AugmentationKind.CLOTHES,
    "objects": AugmentationKind.OBJECTS,
}
"""Transforms of collections of images. Others have those of digits: shift, rotation and scale."""

_NETWORKS: Mapping[ExampleKind, tuple[NetworkKind, ...]] = {
    ExampleKind.IMAGES: (NetworkKind.MLP, NetworkKind.MLP, NetworkKind.CNN),
    ExampleKind.TABLES: (NetworkKind.MLP,),
    ExampleKind.SEQUENCES: (NetworkKind.MLP, NetworkKind.CNN_1D, NetworkKind.TRANSFORMER),
    ExampleKind.TOKENS: (NetworkKind.CNN_1D, NetworkKind.TRANSFORMER),
}

_KINDS = {ExampleKind.IMAGES: 8, ExampleKind.TABLES: 1, ExampleKind.SEQUENCES: 3, ExampleKind.TOKENS: 2}
"""How often a kind of examples is drawn, relative to the others."""

CHANGES = {ChangeKind.NOISY_LABELS: ((0.3, 0.6), (0.1, 0.4)), ChangeKind.DRIFT: ((0.4, 1.0), (0.5, 0.8))}
"""Bounds of the strength of each change, and of the share of the budget after which it comes."""

_LEAST_CHANGED_BUDGET = 6
"""In a smaller budget nothing changes."""


@dataclass(frozen=True, slots=True)
class _Sort:
    """What is drawn in another way for runs that begin afresh and for runs that are taken over.

    Attributes:
        budgets: Budgets, in epochs.
        shown: Bounds of the number of examples that an episode shows in all. So a large budget means few examples,
            which are learnt by heart, and a small budget many, of which each is seen a few times.
        noises: Shares of wrong labels from the beginning.
        rates: Bounds of the learning rate that the run was left with, by optimizer.
        changes: Kinds of changes on the way.
        noisy_before: Whether labels turned noisy before the run is taken over. Empty if that cannot be.
    """

    budgets: Sequence[int]
    shown: tuple[float, float]
    noises: Sequence[float]
    rates: Mapping[OptimizerKind, tuple[float, float]]
    changes: Sequence[ChangeKind]
    noisy_before: Sequence[bool] = ()


_BEGUN_AFRESH = _Sort(
    budgets=(4, 6, 8, 10, 12, 16, 20, 20, 30, 30, 60, 60),
    shown=(4_000, 12_000),
    noises=(0.0, 0.0, 0.1, 0.2, 0.4, 0.4),
    rates={
        OptimizerKind.ADAM: (0.0005, 0.03),
        OptimizerKind.ADAMW: (0.0005, 0.03),
        OptimizerKind.SGD: (0.005, 0.5),
    },
    changes=(*(ChangeKind.NOISY_LABELS,) * 4, ChangeKind.DRIFT, *(ChangeKind.NONE,) * 3),
)
_TAKEN_OVER = _Sort(
    budgets=(4, 6, 8, 10, 12, 16, 20, 20, 30),
    shown=(1_200, 5_000),
    noises=(0.0, 0.0, 0.1, 0.2),
    rates={  # mostly too high for weights that were trained well
        OptimizerKind.ADAM: (0.005, 0.05),
        OptimizerKind.ADAMW: (0.005, 0.05),
        OptimizerKind.SGD: (0.03, 0.15),
    },
    changes=(*(ChangeKind.NOISY_LABELS,) * 5, ChangeKind.DRIFT, *(ChangeKind.NONE,) * 2),
    noisy_before=(True, True, True, False),
)

_LAYER_GAIN = 0.6
"""Gain of a layer with torch's initial weights, by root mean square: 1 / sqrt(3)."""

_LEAST_SIGNAL = 0.02
"""Signals of drawn networks lie between this and its inverse."""

_WIDTHS: Mapping[NetworkKind, tuple[int, ...]] = {
    NetworkKind.MLP: (16, 32, 64, 128),
    NetworkKind.CNN: (8, 12),
    NetworkKind.CNN_1D: (8, 16, 32),
    NetworkKind.TRANSFORMER: (16, 32),
}
_DEPTHS: Mapping[NetworkKind, tuple[int, ...]] = {
    NetworkKind.MLP: (1, 2, 3, 4, 5),
    NetworkKind.CNN: (1, 2, 3),
    NetworkKind.CNN_1D: (1, 2, 3),
    NetworkKind.TRANSFORMER: (1, 2),
}
_CORRUPTIONS: Mapping[ExampleKind, tuple[float, ...]] = {
    ExampleKind.IMAGES: (0.0, 0.0, 0.1, 0.25),
    ExampleKind.TABLES: (0.0, 0.0, 0.3, 1.0),
    ExampleKind.SEQUENCES: (0.0, 0.0, 0.3, 1.0),
    ExampleKind.TOKENS: (0.0, 0.0, 0.1, 0.2),
}

Choice = TypeVar("Choice")


def draw_instance(split: str, number: int) -> Instance:
    """Draw an instance of a split.

    Args:
        split: train, validation or test.
        number: Number of the draw, at least 0. Another number gives another instance.
    """
    for attempt in count():
        chance = _Chance([FAMILY_VERSION, FAMILY_SPLITS.index(split), number, attempt])
        instance = _draw(chance)
        if instance is not None and split_of(instance) == split:
            return instance
    raise AssertionError("unreachable")


def split_of(instance: Instance) -> str:
    """Return the split of an instance. Its content decides, so no content is in two splits."""
    if instance.collection.test_only or instance.network.kind in TEST_ONLY_NETWORKS:
        return "test"
    share = int.from_bytes(hashlib.sha256(instance.content.encode()).digest()[:8], "big") % 100
    for split, part in _SHARES.items():
        if share < part:
            return split
        share -= part
    raise AssertionError("the shares are 100 percent in all")


class _Chance:
    """Random choices that are the same on every machine.

    Args:
        seed: Numbers of at least 0.
    """

    def __init__(self, seed: Sequence[int]) -> None:
        self._bits = np.random.PCG64(seed)

    def number(self) -> float:
        """Return a number in [0, 1), a multiple of 2 ** -53."""
        return int(self._bits.random_raw() >> 11) * 2.0**-53

    def integer(self, below: int) -> int:
        """Return a whole number from 0 to `below` - 1."""
        return int(self.number() * below)

    def one_of(self, choices: Sequence[Choice]) -> Choice:
        """Return one of the choices. One that is there twice is twice as likely."""
        return choices[self.integer(len(choices))]

    def between(self, low: float, high: float) -> float:
        """Return a number of two decimal places between two bounds."""
        return round(low + (high - low) * self.number(), 2)

    def log_between(self, low: float, high: float) -> float:
        """Return a number of two digits. Its logarithm is uniform between those of the bounds."""
        return float(f"{math.exp(math.log(low) + math.log(high / low) * self.number()):.2g}")

    def order(self, numbers: Sequence[int], size: int) -> tuple[int, ...]:
        """Return `size` different ones of the numbers, in random order."""
        left = list(numbers)
        return tuple(left.pop(self.integer(len(left))) for _ in range(size))


def _draw(chance: _Chance) -> Instance | None:
    """Draw an instance of any split. Returns None if its collection cannot serve it."""
    collection, start = _draw_collection(chance), _draw_start(chance)
    sort = _TAKEN_OVER if start else _BEGUN_AFRESH
    budget = chance.one_of(sort.budgets)
    examples = _draw_examples(chance, collection, round(chance.log_between(*sort.shown) / budget), sort.noises)
    network = _draw_network(chance, collection, examples) if examples else None
    if examples is None or network is None:
        return None
    scale = 1.0 if collection.kind is ExampleKind.TOKENS else chance.one_of((1.0, 1.0, 0.03, 5.0))
    if not _passes_signals(network, scale):
        return None
    change, change_after = _draw_change(chance, budget, sort)
    return Instance(
        examples=examples,
        network=network,
        augmentation=_augmentation(collection),
        input_scale=scale,
        budget=budget,
        largest_batch=chance.one_of((32, 64, 128, 256)),
        seed=chance.integer(2**31),
        start=start,
        settings=_draw_settings(chance, sort),
        change=change,
        change_after=change_after,
    )


def _draw_collection(chance: _Chance) -> Collection:
    kind = chance.one_of([kind for kind, weight in _KINDS.items() for _ in range(weight)])
    return chance.one_of([one for one in COLLECTIONS.values() if one.kind is kind])


def _draw_examples(chance: _Chance, collection: Collection, wanted: int, noises: Sequence[float]) -> ExampleDraw | None:
    """Draw which examples of a collection. Returns None if it has not enough.

    Args:
        chance: Random choices.
        collection: The collection.
        wanted: Number of training examples, as far as the collection has them.
        noises: Shares of wrong labels. There are none in next-token tasks.
    """
    noise = chance.one_of(noises)
    if collection.target is TargetKind.NEXT_TOKEN:
        size, imbalance = collection.class_count, 1.0
    else:
        fewest, most = min(max(3, collection.fewest_classes), collection.class_count), min(collection.class_count, 50)
        usual = [size for size in (3, 5, 7, 7, 10, 10, 20, 20, 50) if fewest <= size <= most]
        size, imbalance = chance.one_of(usual or [most]), chance.one_of((1.0, 1.0, 5.0, 20.0))
    classes = chance.order(range(collection.class_count), size)
    floor = collection.floor
    train = min(2_000, max(floor.train, wanted))
    validation = max(floor.validation, chance.one_of((200, 400, 800)))
    try:
        sizes = fit_sizes(collection.name, classes, train, validation, max(floor.test, 2_000), imbalance)
    except DatasetError:
        return None
    noise = noise if collection.target is TargetKind.CLASSES else 0.0
    corruption = chance.one_of(_CORRUPTIONS[collection.kind])
    return ExampleDraw(collection.name, classes, *sizes, noise, imbalance, corruption, chance.integer(2**31))


def _draw_network(chance: _Chance, collection: Collection, examples: ExampleDraw) -> NetworkSpec | None:
    kinds = _NETWORKS[collection.kind]
    if collection.target is TargetKind.NEXT_TOKEN:
        kinds = (NetworkKind.TRANSFORMER,)
    kind = chance.one_of(kinds)
    return NetworkSpec(
        kind=kind,
        inputs=_input_shape(collection),
        outputs=collection.vocabulary if collection.target is TargetKind.NEXT_TOKEN else len(examples.classes),
        depth=chance.one_of(_DEPTHS[kind]),
        width=chance.one_of(_WIDTHS[kind]),
        norm=chance.one_of((True, True, True, False)),
        activation=chance.one_of((Activation.RELU, Activation.TANH)),
        initial_scale=chance.log_between(0.2, 4.0),
        examples=collection.kind,
        target=collection.target,
    )


def _input_shape(collection: Collection) -> tuple[int, ...]:
    """Return the shape in the form of `NetworkSpec.inputs`."""
    shape = collection.shape
    match collection.kind:
        case ExampleKind.IMAGES:
            return (shape[2] if len(shape) == 3 else 1, shape[0], shape[1])
        case ExampleKind.TOKENS:
            return (shape[0], collection.vocabulary)
        case _:
            return shape


def _passes_signals(network: NetworkSpec, input_scale: float) -> bool:
    """Whether activations neither vanish nor explode so far that no learning rate helps.

    Without norm, each layer of the initial weights multiplies them by about `_LAYER_GAIN` times the initial scale.
    """
    if network.norm:
        return True
    gain: float = input_scale * (_LAYER_GAIN * network.initial_scale) ** network.depth
    return _LEAST_SIGNAL <= gain <= 1 / _LEAST_SIGNAL


def _augmentation(collection: Collection) -> AugmentationKind:
    match collection.kind:
        case ExampleKind.IMAGES:
            return _AUGMENTATIONS.get(collection.name, AugmentationKind.DIGITS)
        case ExampleKind.TOKENS:
            return AugmentationKind.NONE
        case _:
            return AugmentationKind.SCATTERED


def _draw_start(chance: _Chance) -> StartSpec | None:
    accidents = (StartKind.HOT, StartKind.MOMENTUM, StartKind.DEAD, StartKind.MEMORISED)
    kind = chance.one_of((*accidents, StartKind.HOT, StartKind.DEAD, StartKind.MEMORISED, *(StartKind.FRESH,) * 2))
    severity, trained = chance.between(0.5, 1.0), chance.one_of((20, 40, 60))
    return None if kind is StartKind.FRESH else StartSpec(kind, severity, trained)


def _draw_settings(chance: _Chance, sort: _Sort) -> TrainingConfig:
    """Draw the settings that a run was left with: plausible ones, and seldom the right ones."""
    optimizer = chance.one_of((OptimizerKind.ADAM, OptimizerKind.ADAMW, OptimizerKind.SGD, OptimizerKind.SGD))
    low, high = sort.rates[optimizer]
    strength = chance.one_of((0.0, 0.0, 0.5, 1.0))
    return TrainingConfig(
        optimizer=optimizer,
        learning_rate=chance.log_between(low, high),
        lr_schedule=chance.one_of((LrSchedule.CONSTANT, LrSchedule.COSINE)),
        dropout=chance.one_of((0.0, 0.0, 0.2, 0.4)),
        augmentation=strength > 0,
        augmentation_strength=strength,
    )


def _draw_change(chance: _Chance, budget: int, sort: _Sort) -> tuple[Change | None, int]:
    """Draw a change, and after how many epochs it comes: noise while there is much to learn, drift rather late.

    In a run that is taken over, the labels have often turned noisy before. So the weights know what the examples no
    longer show.
    """
    kind = chance.one_of(sort.changes)
    (weakest, strongest), (earliest, latest) = CHANGES.get(kind, ((0.0, 0.0), (0.0, 0.0)))
    strength, seed, share = chance.between(weakest, strongest), chance.integer(2**31), chance.between(earliest, latest)
    before = kind is ChangeKind.NOISY_LABELS and bool(sort.noisy_before) and chance.one_of(sort.noisy_before)
    if kind is ChangeKind.NONE or (budget < _LEAST_CHANGED_BUDGET and not before):
        return None, 0
    return Change(kind, strength, seed), 0 if before else max(1, round(budget * share))
