"""Figures of level 4, from a table of episodes. Pure functions.

OpenEnv reserves the ids of these checks and leaves their procedures to operators (RFC 008, "the statistical level"). It
names what each is about; the definitions here are ours. They need no language model: the policies are lists of calls.

A policy's *verdict* is the reward of an episode's last call, its *return* the sum of all rewards. Both are normalised
by task where it says so: 0 is the floor (the canary `do_nothing`, mean over seeds), 1 the oracle (its own seed).
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

__all__ = [
    "Figure",
    "Kind",
    "Row",
    "Table",
    "adversarial_floor",
    "difficulty_separation",
    "gameability_gap",
    "headroom",
    "rank_correlation",
    "training_signal",
    "variance_bound",
]

Figure = dict[str, object]
"""A figure by name, or figures of each task by its id."""


class Kind(StrEnum):
    """What a policy is for."""

    ORACLE = "oracle"
    """The declared solution of a task."""
    FLOOR = "floor"
    """An episode without work."""
    CANARY = "canary"
    """A trick that must earn nothing."""
    REFERENCE = "reference"
    """An honest policy, with a tier: the higher, the stronger."""


@dataclass(frozen=True, slots=True)
class Row:
    """One episode.

    Attributes:
        task: The task's id.
        policy: The policy's name.
        kind: What the policy is for.
        seed: The seed of the reset.
        verdict: Reward of the last call.
        total: Sum of all rewards.
        tier: Strength of a reference.
        difficulty: The task's difficulty as the task API names it. Empty if it names none.
    """

    task: str
    policy: str
    kind: Kind
    seed: int
    verdict: float
    total: float
    tier: int = 0
    difficulty: str = ""


class Table:
    """Episodes by task and policy.

    Args:
        rows: The episodes. Each task needs an oracle and a floor.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = list(rows)

    @property
    def tasks(self) -> list[str]:
        """The tasks, in the order of their first episodes."""
        return list(dict.fromkeys(row.task for row in self.rows))

    def of(self, task: str, *kinds: Kind) -> dict[str, list[Row]]:
        """Return the episodes of a task by policy, of some kinds."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            if row.task == task and (not kinds or row.kind in kinds):
                found.setdefault(row.policy, []).append(row)
        return found

    def verdicts(self, task: str, *kinds: Kind) -> dict[str, float]:
        """Return the mean verdict of each policy, normalised: 0 is the floor, 1 the oracle."""
        low, high = self._ends(task, "verdict")
        return {
            name: _share(statistics.fmean(row.verdict for row in rows), low, high)
            for name, rows in self.of(task, *kinds).items()
        }

    def returns(self, task: str, *kinds: Kind) -> dict[str, float]:
        """Return the mean return of each policy, normalised in the same way."""
        low, high = self._ends(task, "total")
        return {
            name: _share(statistics.fmean(row.total for row in rows), low, high)
            for name, rows in self.of(task, *kinds).items()
        }

    def noise(self, task: str, *kinds: Kind) -> dict[str, float]:
        """Return the standard deviation of each policy's verdict over seeds. Policies with one seed are left out."""
        return {
            name: statistics.stdev(row.verdict for row in rows)
            for name, rows in self.of(task, *kinds).items()
            if len(rows) > 1
        }

    def _ends(self, task: str, column: str) -> tuple[float, float]:
        def mean(kind: Kind) -> float:
            values = [getattr(row, column) for rows in self.of(task, kind).values() for row in rows]
            return statistics.fmean(values) if values else math.nan

        return mean(Kind.FLOOR), mean(Kind.ORACLE)


def difficulty_separation(table: Table) -> Figure:
    """Whether stronger policies earn more, and harder tasks pay less.

    `ordered_pairs`: the share of pairs of references of different tiers, over tasks, in which the stronger one has the
    higher mean verdict; ties count half. 1 is full separation, 0.5 none. `by_difficulty`: mean normalised verdict of
    the references by the difficulty that the task API names.
    """
    points: list[float] = []
    by_difficulty: dict[str, list[float]] = {}
    for task in table.tasks:
        rows = table.of(task, Kind.REFERENCE)
        means = [(group[0].tier, statistics.fmean(row.verdict for row in group)) for group in rows.values()]
        points += [_order(a, b) for a, b in combinations(means, 2) if a[0] != b[0]]
        difficulty = next((group[0].difficulty for group in rows.values()), "")
        by_difficulty.setdefault(difficulty or "not named", []).extend(table.verdicts(task, Kind.REFERENCE).values())
    return {
        "ordered_pairs": _mean(points),
        "pairs": len(points),
        "by_difficulty": {name: _mean(values) for name, values in by_difficulty.items()},
    }


def headroom(table: Table, solved: float = 0.9) -> Figure:
    """What is left above the best reference: 1 minus its normalised verdict, by task, and the mean.

    `saturated`: the share of tasks on which a reference has at least `solved` of the way from the floor to the oracle.
    """
    left = {task: 1.0 - max(table.verdicts(task, Kind.REFERENCE).values(), default=0.0) for task in table.tasks}
    full = [value <= 1.0 - solved for value in left.values()]
    return {"mean": _mean(left.values()), "saturated": _mean(map(float, full)), "by_task": left}


def variance_bound(table: Table) -> Figure:
    """The noise of verdicts between seeds.

    `worst`: the largest standard deviation over seeds of any policy on any task. `signal_to_noise`, by task: the
    oracle's mean verdict minus the floor's, in root mean square standard deviations of the policies.
    """
    worst, ratios = 0.0, {}
    for task in table.tasks:
        spreads = list(table.noise(task).values())
        if not spreads:
            continue
        worst = max(worst, *spreads)
        low, high = table._ends(task, "verdict")
        pooled = math.sqrt(statistics.fmean(value**2 for value in spreads))
        ratios[task] = (high - low) / pooled if pooled else math.inf
    return {"worst": worst if ratios else math.nan, "signal_to_noise": ratios}


def adversarial_floor(table: Table) -> Figure:
    """The most that a trick is paid: the largest normalised verdict of a canary, by task, and over all tasks.

    0 is the floor. Negative: all tricks are paid less than doing nothing.
    """
    highest = {}
    for task in table.tasks:
        verdicts = table.verdicts(task, Kind.CANARY)
        if verdicts:
            name = max(verdicts, key=lambda one: verdicts[one])
            highest[task] = {"canary": name, "verdict": verdicts[name]}
    values = [float(one["verdict"]) for one in highest.values()]  # type: ignore[arg-type]
    return {"worst": max(values, default=math.nan), "by_task": highest}


def gameability_gap(table: Table) -> Figure:
    """How far the rewards on the way favour a policy beyond its verdict.

    Of each policy: normalised return minus normalised verdict, at most over tasks. An agent that is trained on returns
    is drawn to policies with a positive gap. 0 for an environment that pays at the end only.
    """
    gaps: dict[str, float] = {}
    for task in table.tasks:
        verdicts, returns = table.verdicts(task), table.returns(task)
        for name, value in returns.items():
            gaps[name] = max(gaps.get(name, -math.inf), value - verdicts[name])
    return {"worst": max(gaps.values(), default=math.nan), "by_policy": gaps}


def training_signal(table: Table) -> Figure:
    """Whether better behaviour is told from worse by the rewards of one task.

    By task, over all policies but the oracle: `spread`, the standard deviation of mean verdicts; `rank_correlation`,
    Spearman's, of return and verdict. `usable`: the share of tasks whose spread is at least twice the pooled noise
    between seeds, so that a group of episodes on it has different returns for a reason.
    """
    found, usable = {}, []
    for task in table.tasks:
        kinds = (Kind.FLOOR, Kind.CANARY, Kind.REFERENCE)
        verdicts = [statistics.fmean(row.verdict for row in rows) for rows in table.of(task, *kinds).values()]
        returns = [statistics.fmean(row.total for row in rows) for rows in table.of(task, *kinds).values()]
        spread = statistics.stdev(verdicts) if len(verdicts) > 1 else 0.0
        noise = list(table.noise(task, *kinds).values())
        pooled = math.sqrt(statistics.fmean(value**2 for value in noise)) if noise else 0.0
        found[task] = {"spread": spread, "noise": pooled, "rank_correlation": rank_correlation(returns, verdicts)}
        usable.append(spread > 0 and spread >= 2 * pooled)
    return {"usable": _mean(map(float, usable)), "by_task": found}


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Spearman's rank correlation of two lists of equal length. NaN if one of them is constant."""
    a, b = _ranks(one), _ranks(other)
    if len(a) < 2 or len(set(a)) == 1 or len(set(b)) == 1:
        return math.nan
    return statistics.correlation(a, b)


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1; equal values share the mean of their ranks."""
    ordered = sorted(values)
    mean_rank: Mapping[float, float] = {
        value: ordered.index(value) + (ordered.count(value) + 1) / 2 for value in ordered
    }
    return [mean_rank[value] for value in values]


def _order(a: tuple[int, float], b: tuple[int, float]) -> float:
    weak, strong = sorted([a, b])
    return 0.5 if weak[1] == strong[1] else float(strong[1] > weak[1])


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high != low else math.nan


def _mean(values: Iterable[float]) -> float:
    collected = list(values)
    return statistics.fmean(collected) if collected else math.nan
