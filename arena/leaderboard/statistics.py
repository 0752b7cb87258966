"""Statistics of rewards: confidence interval and paired t-test."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

__all__ = ["ci95", "differs"]

LEVEL = 0.05


def ci95(rewards: Sequence[float]) -> float | None:
    """Half the width of the 95 % confidence interval of the mean (Student's t). None for fewer than two rewards."""
    if len(rewards) < 2:
        return None
    return float(special.stdtrit(len(rewards) - 1, 0.975) * np.std(rewards, ddof=1) / math.sqrt(len(rewards)))


def differs(one: Sequence[float], other: Sequence[float]) -> bool | None:
    """Whether two agents differ on their common tasks, by a paired t-test at 5 %.

    Args:
        one: Rewards in the order of the tasks. The tasks are the same for all agents of a competition.
        other: Rewards of the other agent. Surplus rewards of either agent are ignored.

    Returns:
        None for fewer than two common tasks.
    """
    count = min(len(one), len(other))
    if count < 2:
        return None
    difference = np.subtract(one[:count], other[:count])
    spread = np.std(difference, ddof=1)
    if spread == 0:
        return bool(difference[0] != 0)
    t = abs(np.mean(difference)) / (spread / math.sqrt(count))
    return bool(2 * special.stdtr(count - 1, -t) < LEVEL)
