"""Does the score rank policies? Spearman's correlation of the uncapped score of one seed with the mean of three others.

    python benchmarks/families/ranks.py --split validation --tasks 20

For each task, 20 policies play with four seeds: the fixed recipes and random settings. The score of the first seed is
compared with the mean hidden figure of the other three. The standard deviation of the score between seeds is told, too.
"""

import math
import statistics
from collections.abc import Sequence

from shared import parser, play_task, spread_over, tasks_of

from ml_trainer_env.calibration.portfolio import RECIPES, FixedRecipe, random_recipe
from ml_trainer_env.server.tuning.tasks import Task

POLICIES = 20
OTHER_SEEDS = 3


def main() -> None:
    given = parser(__doc__ or "").parse_args()
    tasks = tasks_of(given.split, given.tasks or 20)
    print("| task | Spearman's rho | sd of the score between seeds, median over policies |\n|---|---|---|")
    found = []
    for task, (rho, deviation) in zip(tasks, spread_over(measure, tasks, given.processes), strict=True):
        found.append((rho, deviation))
        print(f"| {task.id} | {rho:.3f} | {deviation:.3f} |", flush=True)
    correlations = [rho for rho, _ in found]
    print(f"\nleast {min(correlations):.3f}, median {statistics.median(correlations):.3f}; ", end="")
    print(f"at least 0.90 on {sum(rho >= 0.9 for rho in correlations)} of {len(found)} tasks; ", end="")
    print(f"median sd of the score {statistics.median(deviation for _, deviation in found):.3f}")


def policies(task: Task) -> list[FixedRecipe]:
    drawn = [random_recipe(f"ranks/{task.id}/{number}") for number in range(POLICIES - len(RECIPES))]
    return [*RECIPES, *drawn]


def measure(task: Task) -> tuple[float, float]:
    """Return the correlation, and the median standard deviation of the score between seeds."""
    assert task.reference is not None
    first, rest, deviations = [], [], []
    for policy in policies(task):
        outcomes = [play_task(policy, task, 200 + seed) for seed in range(1 + OTHER_SEEDS)]
        first.append(outcomes[0].x)
        rest.append(statistics.fmean(outcome.hidden for outcome in outcomes[1:]))
        deviations.append(statistics.stdev(outcome.score for outcome in outcomes))
    return spearman(first, rest), statistics.median(deviations)


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the rank correlation. Equal values share the mean of their ranks. NaN if all values are equal."""
    if len(set(one)) == 1 or len(set(other)) == 1:
        return math.nan
    return statistics.correlation(_ranks(one), _ranks(other))


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) - 1) / 2 for value in values]


if __name__ == "__main__":
    main()
