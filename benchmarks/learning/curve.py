"""The table and the picture of a learning curve."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["draw", "summary"]

Row = Mapping[str, Any]


def summary(rows: Sequence[Row], learned: str, players: Sequence[str]) -> list[str]:
    """Return the lines of a table: the mean of each player, and what the learned policy is above it, paired by task.

    Intervals are 95 % intervals of the mean over tasks (normal approximation).
    """
    scores: dict[str, dict[int, float]] = defaultdict(dict)
    for row in rows:
        scores[row["player"]][row["index"]] = row["score"]
    return list(_table(scores, learned, players))


def _table(scores: Mapping[str, Mapping[int, float]], learned: str, players: Sequence[str]) -> Iterator[str]:
    yield "| player | n | mean score | the learned policy above it | tasks won |"
    yield "|---|---|---|---|---|"
    for player in players:
        own = scores[player]
        gains = [scores[learned][index] - score for index, score in own.items()]
        won = sum(gain > 0 for gain in gains) / len(gains)
        versus = "| | |" if player == learned else f"| {_interval(gains)} | {won:.2f} |"
        yield f"| {player} | {len(own)} | {_interval(list(own.values()))} {versus}"


def _interval(values: Sequence[float]) -> str:
    mean = statistics.fmean(values)
    return f"{mean:.3f} ± {_half(values):.3f}"


def _half(values: Sequence[float]) -> float:
    return 1.96 * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def draw(file: Path, log: Sequence[Row], evaluations: Sequence[Row], split: str, *, with_training: bool = True) -> None:
    """Draw the mean reward of training by episodes, and the scores of the tasks held out.

    Args:
        file: Where to.
        log: Rows of updates, with `episodes` and `reward`.
        evaluations: Rows of episodes held out.
        split: The split to draw.
        with_training: Whether rewards of training mean the same as scores, and are drawn.
    """
    from matplotlib.figure import Figure  # late: it takes half a second to import

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot(
        xlabel="episodes of training", ylabel="score; reward of training" if with_training else "score"
    )
    played = [0]
    for row in log:
        played.append(played[-1] + row["episodes"])
    if with_training:
        axes.plot(played[1:], [row["reward"] for row in log], color="0.75", label="training, reward of drawn actions")
    by_update: dict[int, list[Row]] = defaultdict(list)
    for row in evaluations:
        if row["update"] is not None and row["split"] == split:
            by_update[row["update"]].append(row)
    sampled = set.intersection(*({row["index"] for row in rows} for rows in by_update.values())) if by_update else set()
    points = {
        update: [row["score"] for row in rows if row["index"] in sampled] for update, rows in sorted(by_update.items())
    }
    axes.errorbar(
        [played[update] for update in points],
        [statistics.fmean(scores) for scores in points.values()],
        [_half(scores) for scores in points.values()],
        marker="o",
        capsize=3,
        label=f"held out, most likely actions, {len(sampled)} tasks",
    )
    others: dict[str, list[float]] = defaultdict(list)
    for row in evaluations:
        if row["update"] is None and row["split"] == split and row["index"] in sampled:
            others[row["player"]].append(row["score"])
    for number, (player, scores) in enumerate(others.items()):
        axes.axhline(statistics.fmean(scores), linestyle="--", color=f"C{number + 1}", label=player)
    axes.set_xlim(left=0)
    axes.legend(loc="best", fontsize=8)
    figure.savefig(file)
