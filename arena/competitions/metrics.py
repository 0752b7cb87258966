"""Metrics of a leaderboard: what its columns show, and how the runs of an agent become one figure."""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["PRESENTATION", "ROW_COLUMNS", "Metric", "default_metrics", "metrics_problem"]

PRESENTATION = frozenset({"label", "unit", "precision", "format", "visible"})
"""Fields of a metric that may change while a competition runs: they change no figure."""

ROW_COLUMNS = frozenset(
    {
        "rank", "username", "avatar_key", "submission_id", "submission_name", "score", "score_ci95",
        "n_episodes_total", "elo_variance", "number_of_runs", "created_at_ts", "last_end_run_ts", "is_my_submission",
        "can_open", "team_id", "team_name", "team_members", "action_time_max_sec",
        "agent_metric_total_ram_max_bytes", "agent_metric_vram_max_bytes", "is_public", "is_benchmark", "passed",
        "metrics", "metrics_window",
    }
)  # fmt: skip
"""Columns that each row has. A metric may not have their names."""

_PLATFORM = {"action_time_max": "max", "ram_max": "max", "n_episodes": "sum"}
"""Figures that this service measures itself, and how it aggregates each over the runs."""

_FOLDS: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": lambda rewards: sum(rewards) / len(rewards),
    "sum": sum,
    "max": max,
    "min": min,
    "last": lambda rewards: rewards[-1],
}


class Metric(BaseModel):
    """A column of a leaderboard.

    Attributes:
        key: Its name.
        label: Its heading.
        source: `score` for the reward, `platform` for a figure that the service measures.
        agg: How the runs of an agent become one figure.
        order: `desc` if higher is better, `asc` if lower is better, None if neither.
        format: How the figure is written.
        unit: Its unit.
        precision: Decimal places.
        is_ranking: Whether the leaderboard ranks by it.
        visible: Whether pages show it.
    """

    model_config = ConfigDict(extra="forbid")

    key: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")
    label: str = Field(min_length=1, max_length=40)
    source: Literal["score", "env", "platform"]
    agg: Literal["mean", "sum", "max", "min", "last", "rating"]
    order: Literal["desc", "asc"] | None = None
    format: Literal["number", "integer", "percent", "seconds", "bytes", "currency"]
    unit: Annotated[str, Field(max_length=8)] | None = None
    precision: int = Field(ge=0, le=10)
    is_ranking: bool
    visible: bool

    def aggregate(
        self, rewards: Sequence[float], max_run_s: float | None, max_ram_bytes: int | None
    ) -> float | int | None:
        """Get the figure of an agent.

        Args:
            rewards: Rewards of the runs that count, in their order.
            max_run_s: Duration of the longest run in seconds.
            max_ram_bytes: Peak memory of all runs.

        Returns:
            The figure; None without runs.
        """
        if self.source == "platform":
            return {"action_time_max": max_run_s, "ram_max": max_ram_bytes, "n_episodes": len(rewards)}[self.key]
        return _FOLDS[self.agg](rewards) if rewards else None


def default_metrics(name: str) -> list[Metric]:
    """Get the metrics of a competition that declares none: the reward, under its name."""
    key = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:32]
    if not re.fullmatch(r"[a-z][a-z0-9_]*", key) or key in ROW_COLUMNS:
        key = "reward"
    declared = {"key": key, "label": name or "reward", "source": "score", "agg": "mean", "order": "desc"}
    shown = {"format": "number", "unit": None, "precision": 4, "is_ranking": True, "visible": True}
    return [Metric.model_validate(declared | shown)]


def metrics_problem(metrics: Sequence[Metric]) -> str | None:
    """Find out why these metrics cannot be declared. Returns None if they can, or if there are none."""
    if not metrics:
        return None
    keys = [one.key for one in metrics]
    if len(set(keys)) < len(keys):
        return "metrics: each key should appear once"
    if taken := sorted(ROW_COLUMNS.intersection(keys)):
        return f"metrics: {taken[0]} is a column of every row, and no key"
    if any(one.source == "env" for one in metrics):
        return "metrics: the environments of this service report rewards only, so source should be score or platform"
    if any(one.format == "currency" and not one.unit for one in metrics):
        return "metrics: the format currency needs a unit"
    for one in metrics:
        if one.source == "platform" and _PLATFORM.get(one.key) != one.agg:
            known = ", ".join(f"{key} ({agg})" for key, agg in _PLATFORM.items())
            return f"metrics: of the platform's figures this service measures {known}"
    if any(one.source == "score" and one.agg == "rating" for one in metrics):
        return "metrics: this service has no ratings of rewards: agg should be mean, sum, max, min or last"
    ranking = [(one.source, one.agg, one.order is not None) for one in metrics if one.is_ranking]
    if ranking != [("score", "mean", True)]:
        return (
            "metrics: exactly one should be the ranking one: the mean of the reward (source score, agg mean), with the "
            "order desc if more is better, or asc if less is. Each other metric with an order has a board of its own"
        )
    return None
