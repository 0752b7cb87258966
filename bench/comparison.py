"""Compares agents by their rows: means with intervals, paired differences, ranks. Pure.

Agents are compared on the tasks that all of them have played with all seeds. So an unfinished run is compared fairly,
and its report says what is left out.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml_trainer_env.bench.plan import Cell, Plan
from ml_trainer_env.bench.rows import Row
from ml_trainer_env.bench.statistics import Estimate, estimate_mean, holm, mean_ranks, paired_p, shares_won

__all__ = ["Comparison", "Difference", "Group", "Standing", "compare"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How an agent did. Means are over tasks, and within a task over seeds.

    Attributes:
        agent: Its name.
        score: Its mean score.
        rank: Its mean rank over tasks; 1 is the best.
        won: Share of tasks on which it was the best. Agents with the same score share a task.
        gave_up: Number of plays in which it submitted nothing. They count 0.
        seen: Mean of the figure that it could see. NaN where it is not known.
        hidden: Mean of the same figure on hidden examples.
        spent: Mean share of the budget that it spent.
        amount: Mean of what it spent.
        calls: Mean number of calls.
        refused: Mean number of refused calls.
        tokens: Mean number of tokens. NaN where it is not known.
        seconds: Mean wall time. NaN where it is not known.
    """

    agent: str
    score: Estimate
    rank: float
    won: float
    gave_up: int
    seen: float
    hidden: float
    spent: float
    amount: float
    calls: float
    refused: float
    tokens: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of two agents' scores on the same tasks.

    Attributes:
        agent: The agent.
        baseline: The agent that it is compared with.
        mean: The mean difference; above 0 if the agent is better.
        better: Share of tasks on which it is better. A task without a difference counts half.
        p: p value of the sign-flip test.
        p_holm: The same, corrected for all differences of the run.
    """

    agent: str
    baseline: str
    mean: Estimate
    better: float
    p: float
    p_holm: float


@dataclass(frozen=True, slots=True)
class Group:
    """The agents' scores on some of the tasks.

    Attributes:
        name: Name of the group.
        tasks: Number of its tasks.
        scores: Mean score of each agent, in their order.
    """

    name: str
    tasks: int
    scores: tuple[Estimate, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison of the agents of a run.

    Attributes:
        plan: The plan.
        tasks: The tasks that count, in order.
        scores: Scores of the tasks, averaged over seeds; shape (tasks, agents).
        rows: The rows that count, by their place.
        played: Number of plays, also of tasks that do not count yet.
        standings: One for each agent, in the order of the plan.
        differences: One for each agent but the baseline.
        tiers: Scores by tier.
        kinds: Scores by kind. A task with several kinds is in several groups.
        splits: Scores by split.
    """

    plan: Plan
    tasks: tuple[str, ...]
    scores: NDArray[np.float64]
    rows: Mapping[Cell, Row]
    played: int
    standings: tuple[Standing, ...]
    differences: tuple[Difference, ...]
    tiers: tuple[Group, ...]
    kinds: tuple[Group, ...]
    splits: tuple[Group, ...]

    @property
    def planned(self) -> int:
        """Number of plays in the plan."""
        return len(self.plan.tasks) * len(self.plan.agents) * len(self.plan.seeds)


def compare(plan: Plan, rows: Mapping[Cell, Row]) -> Comparison:
    """Compare the agents of a plan.

    Args:
        plan: The plan.
        rows: What was played. Rows that are not of the plan do not count.
    """
    planned = {cell: rows[cell] for cell in plan.cells() if cell in rows}
    tasks = tuple(task for task in plan.tasks if all(cell in planned for cell in _cells(plan, task)))
    counted = {cell: planned[cell] for task in tasks for cell in _cells(plan, task)}
    scores = _by_task(plan, tasks, counted, lambda row: row.counted)
    return Comparison(
        plan=plan,
        tasks=tasks,
        scores=scores,
        rows=counted,
        played=len(planned),
        standings=_standings(plan, tasks, counted, scores),
        differences=_differences(plan, scores),
        tiers=_groups(plan, tasks, scores, counted, lambda row: (row.tier,)),
        kinds=_groups(plan, tasks, scores, counted, lambda row: row.kinds),
        splits=_groups(plan, tasks, scores, counted, lambda row: (row.split,)),
    )


def _cells(plan: Plan, task: str) -> list[Cell]:
    return [Cell(agent, task, seed) for agent in plan.agents for seed in plan.seeds]


def _by_task(
    plan: Plan, tasks: Sequence[str], rows: Mapping[Cell, Row], value: Callable[[Row], float | None]
) -> NDArray[np.float64]:
    """Return a value by task and agent, averaged over seeds; shape (tasks, agents). NaN if a value is not known."""

    def mean(task: str, agent: str) -> float:
        found = [value(rows[Cell(agent, task, seed)]) for seed in plan.seeds]
        return float(np.mean([math.nan if one is None else one for one in found]))

    return np.array([[mean(task, agent) for agent in plan.agents] for task in tasks]).reshape(-1, len(plan.agents))


def _standings(
    plan: Plan, tasks: Sequence[str], rows: Mapping[Cell, Row], scores: NDArray[np.float64]
) -> tuple[Standing, ...]:
    def means(value: Callable[[Row], float | None]) -> list[float]:
        table = _by_task(plan, tasks, rows, value)
        known = [column[np.isfinite(column)] for column in table.T]
        return [float(column.mean()) if column.size else math.nan for column in known]

    ranks, won = mean_ranks(scores), shares_won(scores)
    seen, hidden = means(lambda row: row.seen), means(lambda row: row.hidden)
    spent, amount = means(lambda row: row.spent / row.budget), means(lambda row: row.spent)
    calls, refused = means(lambda row: row.calls), means(lambda row: row.refused)
    tokens, seconds = means(lambda row: row.tokens), means(lambda row: row.seconds)
    return tuple(
        Standing(
            agent=agent,
            score=estimate_mean(scores[:, place]),
            rank=ranks[place],
            won=won[place],
            gave_up=sum(row.score is None for cell, row in rows.items() if cell.agent == agent),
            seen=seen[place],
            hidden=hidden[place],
            spent=spent[place],
            amount=amount[place],
            calls=calls[place],
            refused=refused[place],
            tokens=tokens[place],
            seconds=seconds[place],
        )
        for place, agent in enumerate(plan.agents)
    )


def _differences(plan: Plan, scores: NDArray[np.float64]) -> tuple[Difference, ...]:
    base = plan.agents.index(plan.baseline)
    others = [place for place in range(len(plan.agents)) if place != base]
    gains = [scores[:, place] - scores[:, base] for place in others]
    raw = [paired_p(gain) for gain in gains]
    return tuple(
        Difference(
            agent=plan.agents[place],
            baseline=plan.baseline,
            mean=estimate_mean(gain),
            better=float(np.mean((gain > 0) + 0.5 * (gain == 0))) if gain.size else math.nan,
            p=p,
            p_holm=corrected,
        )
        for place, gain, p, corrected in zip(others, gains, raw, holm(raw), strict=True)
    )


def _groups(
    plan: Plan,
    tasks: Sequence[str],
    scores: NDArray[np.float64],
    rows: Mapping[Cell, Row],
    names: Callable[[Row], Sequence[str]],
) -> tuple[Group, ...]:
    """Group tasks by what their rows say. If an agent gave up, its row may say less, so the longest counts."""
    members: dict[str, list[int]] = {}
    for place, task in enumerate(tasks):
        found = max((names(rows[cell]) for cell in _cells(plan, task)), key=len)
        for name in found:
            members.setdefault(name, []).append(place)
    return tuple(
        Group(name, len(members[name]), tuple(estimate_mean(column) for column in scores[members[name]].T))
        for name in sorted(members, key=lambda name: (not name.isdigit(), len(name) if name.isdigit() else 0, name))
    )
