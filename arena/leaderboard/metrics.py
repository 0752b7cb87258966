"""The boards of a competition: one for each metric that has an order."""

from ml_trainer_env.arena.competitions.metrics import Metric
from ml_trainer_env.arena.competitions.service import settings_of
from ml_trainer_env.arena.errors import NotFoundError
from ml_trainer_env.arena.tables import Competition

__all__ = ["board_metric", "board_metrics"]


def board_metrics(competition: Competition) -> list[Metric]:
    """List the metrics that have a board. The one by which the competition ranks comes first."""
    found = [metric for metric in settings_of(competition).shown_metrics if metric.order and metric.visible]
    return sorted(found, key=lambda metric: not metric.is_ranking)


def board_metric(competition: Competition, key: str) -> Metric:
    """Get the metric of a board by its key.

    Raises:
        NotFoundError: No board has this metric.
    """
    found = board_metrics(competition)
    for metric in found:
        if metric.key == key:
            return metric
    known = ", ".join(metric.key for metric in found)
    raise NotFoundError(f"no board is by the metric {key!r}; there are boards by {known}")
