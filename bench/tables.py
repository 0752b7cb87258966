"""The tables of a comparison, as values that are written as Markdown, CSV and HTML."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ml_trainer_env.bench.comparison import Comparison, Group
from ml_trainer_env.bench.games import find_game
from ml_trainer_env.bench.statistics import LEAST, LEVEL, RESAMPLES, SEED, Estimate

__all__ = ["Column", "Table", "best_sentence", "tables_of", "write_csv", "write_markdown"]

Value = str | float | Estimate

_NOTHING = "-"
_SMALLEST_P = 0.0001


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its head.
        places: Number of decimal places of its numbers.
        kind: `text`, `number`, `share` (shown as per cent) or `p`.
    """

    title: str
    places: int = 3
    kind: str = "number"

    def show(self, value: Value) -> str:
        """Write a value for people."""
        if isinstance(value, str):
            return value
        if isinstance(value, Estimate):
            ends = f" [{value.low:.{self.places}f}, {value.high:.{self.places}f}]" if math.isfinite(value.low) else ""
            return f"{self.show(value.mean)}{ends}"
        if not math.isfinite(value):
            return _NOTHING
        if self.kind == "share":
            return f"{value:.{self.places}%}"
        if self.kind == "p" and value < _SMALLEST_P:
            return f"< {_SMALLEST_P}"
        return f"{value:.{self.places}f}"


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        name: Short name, for files.
        title: Its heading.
        note: What its figures are, in sentences.
        columns: The columns.
        rows: The rows, as long as `columns`.
    """

    name: str
    title: str
    note: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]

    @property
    def cells(self) -> list[list[str]]:
        """The rows as text."""
        return [[column.show(value) for column, value in zip(self.columns, row, strict=True)] for row in self.rows]


_TEXT = "text"
_METHOD = (
    f"Intervals: {LEVEL:.0%} bootstrap over tasks, BCa (percentile where BCa is not defined), {RESAMPLES:,} resamples, "
    f"seed {SEED}. Scores of several seeds of a task are averaged first."
)


def tables_of(comparison: Comparison) -> tuple[Table, ...]:
    """Return the tables of a comparison."""
    return (
        _scores(comparison),
        _differences(comparison),
        _costs(comparison),
        _groups(comparison, "tiers", "By tier", "Tier", comparison.tiers, "1 is the easiest tier."),
        _groups(comparison, "kinds", "By kind", "Kind", comparison.kinds, _kind_note(comparison)),
        _groups(comparison, "splits", "By split", "Split", comparison.splits, ""),
    )


def best_sentence(comparison: Comparison) -> str:
    """Write who has the best mean score, and by how much it beats the baseline. "" if nothing is compared yet."""
    if not comparison.tasks:
        return ""
    score, p = Column(""), Column("", 4, "p")
    best = max(comparison.standings, key=lambda one: one.score.mean)
    said = f"The best mean score is that of {best.agent}: {score.show(best.score)}."
    for one in comparison.differences:
        if one.agent == best.agent:
            sign = "=" if one.p_holm >= _SMALLEST_P else ""
            said += f" It is {score.show(one.mean)} above {one.baseline} (p {sign} {p.show(one.p_holm)}, Holm)."
    return said.replace("  ", " ")


def write_markdown(table: Table) -> str:
    """Write a table as Markdown, with its heading and its note."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    head = line([column.title for column in table.columns])
    rule = "|" + "|".join("---" if column.kind == _TEXT else "---:" for column in table.columns) + "|"
    note = f"{table.note}\n\n" if table.note else ""
    return f"## {table.title}\n\n{note}" + "\n".join((head, rule, *map(line, table.cells))) + "\n"


def write_csv(table: Table) -> str:
    """Write a table as CSV with all digits. An estimate has columns for its mean, its ends and its count."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    wide = [any(isinstance(row[place], Estimate) for row in table.rows) for place in range(len(table.columns))]
    heads = (
        [column.title, f"{column.title} low", f"{column.title} high", f"{column.title} n"]
        if is_wide
        else [column.title]
        for column, is_wide in zip(table.columns, wide, strict=True)
    )
    writer.writerow([head for part in heads for head in part])
    for row in table.rows:
        writer.writerow([number for value in row for number in _numbers(value)])
    return out.getvalue()


def _numbers(value: Value) -> list[str | float]:
    if isinstance(value, Estimate):
        return [*map(_number, (value.mean, value.low, value.high)), value.count]
    return [value if isinstance(value, str) else _number(value)]


def _number(value: float) -> str | float:
    return value if math.isfinite(value) else ""


def _scores(comparison: Comparison) -> Table:
    game = find_game(comparison.plan.game)
    ordered = sorted(comparison.standings, key=lambda one: -one.score.mean if comparison.tasks else 0.0)
    rows = tuple(
        (one.agent, one.score, one.rank, one.won, one.seen, one.hidden, one.seen - one.hidden, float(one.gave_up))
        for one in ordered
    )
    return Table(
        "scores",
        "Scores",
        f"{_METHOD} Rank: mean over tasks, 1 is the best. Won: share of tasks on which the agent was the best; agents "
        f"with the same score share a task. {game.seen_name.capitalize()} and {game.hidden_name}: of the submitted "
        "model; the agent does not see the second one. Gap: the difference. "
        "An agent that gave up gets the least score of the rubric.",
        (
            Column("Agent", kind=_TEXT),
            Column("Score"),
            Column("Rank", 2),
            Column("Won", 0, "share"),
            Column(game.seen_name.capitalize()),
            Column(game.hidden_name.capitalize()),
            Column("Gap"),
            Column("Gave up", 0),
        ),
        rows,
    )


def _differences(comparison: Comparison) -> Table:
    ordered = sorted(comparison.differences, key=lambda one: -one.mean.mean if comparison.tasks else 0.0)
    count = len(ordered)
    return Table(
        "differences",
        f"Paired differences from {comparison.plan.baseline}",
        "Differences of scores on the same tasks and seeds; above 0, the agent is better. Intervals as above. p: "
        "two-sided sign-flip permutation test of the mean difference (all flips up to 13 tasks, else "
        f"{RESAMPLES:,} random ones, seed {SEED}). p (Holm): corrected by Holm's method for the family of the {count} "
        f"comparison{'' if count == 1 else 's'} of this table. Better: share of tasks on which the agent is better; "
        "a task without a difference counts half.",
        (
            Column("Agent", kind=_TEXT),
            Column("Difference"),
            Column("p", 4, "p"),
            Column("p (Holm)", 4, "p"),
            Column("Better", 0, "share"),
        ),
        tuple((one.agent, one.mean, one.p, one.p_holm, one.better) for one in ordered),
    )


def _costs(comparison: Comparison) -> Table:
    game = find_game(comparison.plan.game)
    return Table(
        "costs",
        "Costs of a play",
        f"Means of a play. The budget counts {game.unit}; of an agent that forks, those of its whole tree of forks. "
        "Seconds are wall time of the program that played. They include waiting for other plays, and epochs that the "
        "server had trained before take none: do not compare agents by them. A dash: not known.",
        (
            Column("Agent", kind=_TEXT),
            Column(game.unit.capitalize(), 1),
            Column("Of the budget", 0, "share"),
            Column("Calls", 1),
            Column("Refused", 1),
            Column("Tokens", 0),
            Column("Seconds", 1),
        ),
        tuple(
            (one.agent, one.amount, one.spent, one.calls, one.refused, one.tokens, one.seconds)
            for one in comparison.standings
        ),
    )


def _groups(comparison: Comparison, name: str, title: str, head: str, groups: Sequence[Group], note: str) -> Table:
    agents = [Column(agent, 2) for agent in comparison.plan.agents]
    rows: list[tuple[Value, ...]] = [(group.name, float(group.tasks), *group.scores) for group in groups]
    return Table(
        name,
        title,
        f"Mean scores, intervals as above. A group of fewer than {LEAST} tasks has no interval. {note}".strip(),
        (Column(head, kind=_TEXT), Column("Tasks", 0), *agents),
        tuple(rows),
    )


def _kind_note(comparison: Comparison) -> str:
    if comparison.plan.game == "fleet":
        return "A kind is what had gone wrong. A task in which two things went wrong is in two groups."
    return "A kind is the kind of the network."
