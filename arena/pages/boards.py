"""The boards of a competition as its pages show them: one for each metric that has an order."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from ml_trainer_env.arena.competitions.metrics import Metric
from ml_trainer_env.arena.competitions.repository import can_edit
from ml_trainer_env.arena.competitions.service import describe, holds_results
from ml_trainer_env.arena.leaderboard.metrics import board_metric, board_metrics
from ml_trainer_env.arena.leaderboard.service import board
from ml_trainer_env.arena.tables import Competition, Scope
from ml_trainer_env.arena.tokens.service import Caller

__all__ = ["BoardPage", "board_page", "format_figure", "is_organiser", "page_head"]

MB = 2**20
_UNITS = {"seconds": " s", "bytes": " MB", "percent": " %"}


@dataclass(frozen=True, slots=True)
class BoardPage:
    """A board on a page.

    Attributes:
        rows: Its rows, best first. A row of the board of another metric has `MetricText`.
        metrics: The metrics that have boards.
        metric: That of this board.
        is_held: Whether the results are held back from the reader.
    """

    rows: list[dict[str, Any]]
    metrics: list[Metric]
    metric: Metric
    is_held: bool


def board_page(session: Session, competition: Competition, reader_id: int | None, key: str, most: int) -> BoardPage:
    """Get a board of a competition for a reader.

    Args:
        session: A transaction.
        competition: The competition, which the reader may see.
        reader_id: The reader; None for nobody in particular.
        key: Key of the metric; empty for that by which the competition ranks.
        most: Maximum number of rows.

    Raises:
        NotFoundError: No board has this metric.
    """
    metrics = board_metrics(competition)
    metric = board_metric(competition, key) if key else metrics[0]
    is_held = holds_results(session, competition, reader_id)
    rows = [] if is_held else board(session, competition, most, None if metric.is_ranking else metric)
    for row in rows:
        if "MetricValue" in row:
            row["MetricText"] = format_figure(row["MetricValue"], metric)
    return BoardPage(rows, metrics, metric, is_held)


def format_figure(figure: float | None, metric: Metric) -> str:
    """Write a figure as its metric says."""
    if figure is None:
        return ""
    shown = {"percent": 100 * figure, "bytes": figure / MB}.get(metric.format, figure)
    text = f"{shown:.{0 if metric.format == 'integer' else metric.precision}f}"
    return f"{text} {metric.unit}" if metric.unit else text + _UNITS.get(metric.format, "")


def page_head(session: Session, competition: Competition, caller: Caller | None, tab: str) -> dict[str, Any]:
    """Get what the head of each page of a competition shows."""
    is_own = is_organiser(session, competition, caller)
    return {"competition": describe(competition), "tab": tab, "is_organiser": is_own}


def is_organiser(session: Session, competition: Competition, caller: Caller | None) -> bool:
    """Whether the signed-in user may organise a competition, and has a token for it."""
    return caller is not None and caller.scope is Scope.CREATOR and can_edit(session, competition, caller.user_id)
