"""Intervals, tests and ranks of scores. Pure functions of arrays; each says its method.

The unit is the task: scores of several seeds of a task are averaged before they come here. Plays of one task are not
independent, and an interval over plays would be too narrow.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

__all__ = [
    "LEAST",
    "LEVEL",
    "RESAMPLES",
    "SEED",
    "Estimate",
    "estimate_mean",
    "holm",
    "mean_ranks",
    "paired_p",
    "shares_won",
]

LEVEL = 0.95
"""Confidence level of intervals."""

RESAMPLES = 9_999
"""Number of bootstrap resamples, and of random sign flips where not all can be tried."""

SEED = 0
"""Seed of resamples and of sign flips."""

LEAST = 5
"""Number of values below which there is no interval. A bootstrap of fewer is much too narrow: of two values it has the
true mean half of the time."""

_SAME = 1e-12
"""Differences that are smaller come from rounding. They are 0."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its interval.

    Attributes:
        mean: The mean. NaN without values.
        low: Lower end of the interval. NaN with fewer than `LEAST` values.
        high: Upper end of the interval. NaN with fewer than `LEAST` values.
        count: Number of values.
    """

    mean: float
    low: float
    high: float
    count: int


def estimate_mean(values: ArrayLike) -> Estimate:
    """Return the mean with a 95 % bootstrap interval, BCa (Efron 1987).

    Where BCa is not defined (all values the same, or nearly) it is the percentile interval. The order of the values
    makes no difference.

    >>> estimate_mean([0.5, 0.5, 0.5, 0.5, 0.5])
    Estimate(mean=0.5, low=0.5, high=0.5, count=5)

    Args:
        values: Shape (n,).
    """
    given = np.sort(np.asarray(values, dtype=float))
    if given.size == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    mean = float(given.mean())
    if given.size < LEAST:
        return Estimate(mean, math.nan, math.nan, given.size)
    if np.ptp(given) < _SAME:
        return Estimate(mean, mean, mean, given.size)
    least = given[0]
    above = np.round(given - least, 9)  # BCa counts ties, which rounding would break: so a shift would change it
    low, high = _interval(above, "BCa")
    if not math.isfinite(low) or not math.isfinite(high):
        low, high = _interval(above, "percentile")
    return Estimate(mean, float(least + low), float(least + high), given.size)


def _interval(values: NDArray[np.float64], method: str) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns where BCa is not defined; the ends are then NaN
        found = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=RESAMPLES,
            confidence_level=LEVEL,
            method=method,
            rng=np.random.default_rng(SEED),
        ).confidence_interval
    return float(found.low), float(found.high)


def paired_p(differences: ArrayLike) -> float:
    """Return the two-sided p value that paired differences have a mean of 0, by flipping their signs.

    It is exact where there are at most `RESAMPLES` ways to flip them (up to 13 differences), else by random flips.
    With fewer than two differences, or where their sum is 0, it is 1.

    Args:
        differences: Shape (n,).
    """
    given = np.asarray(differences, dtype=float)
    given = np.where(np.abs(given) < _SAME, 0.0, given)
    # Ties of sums are decided by rounding. So the sums are those of one order and one direction, whichever was given.
    total = math.fsum(given)
    if given.size < 2 or total == 0.0:
        return 1.0
    given = np.sort(math.copysign(1.0, total) * given)
    found = stats.permutation_test(
        (given,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(SEED),
    )
    return float(found.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values that are corrected for a family of tests (Holm 1979), in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    count, corrected, largest = len(p_values), [1.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(count), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (count - place) * p_values[index]))
        corrected[index] = largest
    return corrected


def mean_ranks(scores: ArrayLike) -> list[float]:
    """Return the mean rank of each agent. 1 is the best; agents with the same score share the mean of their ranks.

    Args:
        scores: Shape (tasks, agents).
    """
    given = np.asarray(scores, dtype=float)
    if given.size == 0:
        return [math.nan] * given.shape[1]
    ranks = stats.rankdata(-given, method="average", axis=1)
    return [float(rank) for rank in ranks.mean(axis=0)]


def shares_won(scores: ArrayLike) -> list[float]:
    """Return the share of tasks on which each agent has the best score. Agents with the same score share the task.

    Args:
        scores: Shape (tasks, agents).
    """
    given = np.asarray(scores, dtype=float)
    if given.size == 0:
        return [math.nan] * given.shape[1]
    best = given == given.max(axis=1, keepdims=True)
    return [float(share) for share in (best / best.sum(axis=1, keepdims=True)).mean(axis=0)]
