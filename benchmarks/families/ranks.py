"""Does the score rank policies? Spearman's correlation of the uncapped score of one seed with the mean of three others.

    python benchmarks/families/ranks.py --split validation --tasks 20

For each task, 20 policies play with four seeds. The score of the first seed is compared with the mean hidden figure of
the other three. The standard deviation of the score between seeds is told, too.

Twice as many policies are at hand: the fixed recipes, agents, recipes stopped early, rates that are far too low or too
high, the weights left alone, and random settings. All play with three more seeds, and 20 are chosen whose mean scores
there are spread as evenly as can be, so that the order of equals, which is chance, does not decide. With one more seed
in place of three, chance decides again: a policy that was lucky looks better than all others. With `--first` they are
the first 20, many of which are as good as equal on many tasks.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from shared import parser, play_task, spread_over, tasks_of

from ml_trainer_env.baselines.agent import Agent, Call, Script
from ml_trainer_env.baselines.heuristic import HeuristicAgent
from ml_trainer_env.baselines.one_epoch_probes import OneEpochProbes
from ml_trainer_env.baselines.play import RUN, SUBMIT
from ml_trainer_env.baselines.prober import ProbingAgent
from ml_trainer_env.baselines.session import Brief, ToolSpec
from ml_trainer_env.calibration.portfolio import RECIPES, UNTOUCHED, FixedRecipe, random_recipe
from ml_trainer_env.server.tuning.tasks import Task

POLICIES = 20
OTHER_SEEDS = 3
CHOOSING_SEEDS = 3
FIRST_SEED = 200
LARGEST_CALL = 20


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--first", action="store_true", help="the first 20 policies, not 20 spread evenly")
    given = options.parse_args()
    tasks = tasks_of(given.split, given.tasks or 20)
    print("| task | Spearman's rho | sd of the score between seeds, median over policies |\n|---|---|---|")
    found = []
    measured = spread_over(partial(measure, choose=first if given.first else spread), tasks, given.processes)
    for task, (rho, deviation) in zip(tasks, measured, strict=True):
        found.append((rho, deviation))
        print(f"| {task.id} | {rho:.3f} | {deviation:.3f} |", flush=True)
    correlations = [rho for rho, _ in found]
    print(f"\nleast {min(correlations):.3f}, median {statistics.median(correlations):.3f}; ", end="")
    print(f"at least 0.90 on {sum(rho >= 0.9 for rho in correlations)} of {len(found)} tasks; ", end="")
    print(f"median sd of the score {statistics.median(deviation for _, deviation in found):.3f}")


@dataclass(frozen=True, slots=True)
class StoppedEarly:
    """Plays a recipe, and submits after a share of the budget.

    Attributes:
        recipe: The recipe.
        share: The share.
    """

    recipe: FixedRecipe
    share: float

    @property
    def name(self) -> str:
        return f"{self.recipe.name}, {self.share:g} of the budget"

    def script(self, brief: Brief, tools: Sequence[ToolSpec]) -> Script:
        yield next(self.recipe.script(brief, tools))  # sets the settings
        left = max(1, round(self.share * brief.budget_epochs))
        while left > 0:
            yield Call(RUN, {"num_epochs": min(LARGEST_CALL, left)})
            left -= LARGEST_CALL
        yield Call(SUBMIT)


def policies(task: Task) -> list[Agent]:
    """Return policies of all qualities. The first ones are as unlike as agents are."""
    best, plain = RECIPES[1], RECIPES[2]
    rates = [
        FixedRecipe(f"rate {rate:g}", {**best.settings, "learning_rate": rate})
        for rate in (3e-5, 3e-4, 0.03, 0.3, 1e-5, 1e-4, 0.001, 0.1)
    ]
    agents = [HeuristicAgent(), OneEpochProbes(), ProbingAgent(), UNTOUCHED]
    stopped = [StoppedEarly(recipe, share) for recipe in (best, plain) for share in (0.1, 0.25, 0.5)]
    random = [random_recipe(f"ranks/{task.id}/{number}") for number in range(16)]
    return [*RECIPES, *agents, *stopped[:3], *rates[:4], *random[:3], *stopped[3:], *rates[4:], *random[3:]]


def first(task: Task) -> list[Agent]:
    """Return the first policies."""
    return policies(task)[:POLICIES]


def spread(task: Task) -> list[Agent]:
    """Return policies whose mean scores on more seeds are spread evenly: each is as far from the chosen ones as can be.

    That is farthest-point sampling (Gonzalez, 1985), from the best one on.
    """
    after = FIRST_SEED + 1 + OTHER_SEEDS
    seeds = range(after, after + CHOOSING_SEEDS)
    left = [(statistics.fmean(play_task(policy, task, seed).x for seed in seeds), policy) for policy in policies(task)]
    left = [(value, policy) for value, policy in left if math.isfinite(value)]
    chosen = [max(left, key=lambda one: one[0])]
    while len(chosen) < POLICIES:
        left = [one for one in left if one not in chosen]
        chosen.append(max(left, key=lambda one: min(abs(one[0] - other) for other, _ in chosen)))
    return [policy for _, policy in chosen]


def measure(task: Task, choose: Callable[[Task], list[Agent]]) -> tuple[float, float]:
    """Return the correlation over chosen policies, and the median standard deviation of the score between seeds."""
    first, rest, deviations = [], [], []
    for policy in choose(task):
        outcomes = [play_task(policy, task, FIRST_SEED + seed) for seed in range(1 + OTHER_SEEDS)]
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
