"""The sequences that come with aeon (BSD): vowels, motions, power and leaves."""

from collections.abc import Callable

import numpy as np

from .pack import Arrays, finish, standardise
from .packages import Packages

VOWEL_FRAMES, VOWEL_VIEWS = 10, 6
MOTION_FRAMES, MOTION_STEP = 20, 5
LEAF_POINTS, LEAF_STEP, LEAF_STARTS = 61, 7, 4
TEST_OF_FIVE = 2
"""Of five vowels or leaves of a class so many are for the hidden test alone."""


def japanese_vowels(packages: Packages) -> Arrays:
    """Pieces of 10 frames out of spoken vowels, 12 coefficients; the class is the speaker."""
    series, names = read_series(packages, "JapaneseVowels")
    pieces, labels, in_test = [], [], []
    for values, name, hidden in zip(series, names, alternate(names), strict=True):
        spare = max(len(values) - VOWEL_FRAMES, 0)
        padded = np.concatenate([values, np.repeat(values[-1:], VOWEL_FRAMES, axis=0)])
        starts = sorted({round(spare * view / (VOWEL_VIEWS - 1)) for view in range(VOWEL_VIEWS)})
        pieces += [padded[start : start + VOWEL_FRAMES] for start in starts]
        labels += [int(name) - 1] * len(starts)
        in_test += [hidden] * len(starts)
    return finish(standardise(np.stack(pieces)), np.array(labels), np.array(in_test))


def motions(packages: Packages) -> Arrays:
    """Pieces of 20 readings of a watch's accelerometer and gyroscope; the class is what its wearer does."""
    series, names = read_series(packages, "BasicMotions")
    classes = ["Standing", "Walking", "Running", "Badminton"]
    starts = range(0, len(series[0]) - MOTION_FRAMES + 1, MOTION_STEP)
    pieces = [values[start : start + MOTION_FRAMES] for values in series for start in starts]
    labels = np.repeat([classes.index(name) for name in names], len(starts))
    return finish(standardise(np.stack(pieces)), labels, np.arange(len(labels)) >= len(labels) // 2)


def italy_power(packages: Packages) -> Arrays:
    """A day's demand for electric power in Italy by the hour; the class is summer or winter."""
    series, names = read_series(packages, "ItalyPowerDemand")
    return finish(standardise(np.stack(series)), np.array([int(name) - 1 for name in names]))


def leaf_outlines(packages: Packages) -> Arrays:
    """Outlines of leaves, as distances from the middle, begun at 4 points and run both ways; the class is the tree."""
    series, names = read_series(packages, "OSULeaf")
    pieces, labels, in_test = [], [], []
    for values, name, hidden in zip(series, names, alternate(names), strict=True):
        points = values[: LEAF_POINTS * LEAF_STEP].reshape(LEAF_POINTS, LEAF_STEP).mean(1, keepdims=True)
        for start in range(LEAF_STARTS):
            turned = np.roll(points, -start * LEAF_POINTS // LEAF_STARTS, axis=0)
            pieces += [turned, turned[::-1]]
            labels += [int(name) - 1] * 2
            in_test += [hidden] * 2
    return finish(standardise(np.stack(pieces)), np.array(labels), np.array(in_test))


SEQUENCES: dict[str, Callable[[Packages], Arrays]] = {
    "japanese_vowels": japanese_vowels,
    "motions": motions,
    "italy_power": italy_power,
    "leaf_outlines": leaf_outlines,
}


def alternate(names: list[str]) -> list[bool]:
    """Returns which series are for the hidden test alone: of each class, the last two of every five."""
    seen: dict[str, int] = {}
    hidden = []
    for name in names:
        hidden.append(seen.get(name, 0) % 5 >= 5 - TEST_OF_FIVE)
        seen[name] = seen.get(name, 0) + 1
    return hidden


def read_series(packages: Packages, name: str) -> tuple[list[np.ndarray], list[str]]:
    """Returns series (length, channels) and their classes: first the file for training, then the one for the test."""
    series, names = [], []
    for part in ("TRAIN", "TEST"):
        text = packages.read("aeon", f"aeon/datasets/data/{name}/{name}_{part}.ts").decode()
        for line in text.splitlines():
            if line and line[0] not in "#@":
                *channels, label = line.split(":")
                series.append(np.array([channel.split(",") for channel in channels], np.float64).T)
                names.append(label.strip())
    return series, names
