"""Request bodies of creators, and the settings of a competition."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ml_trainer_env.arena.competitions.metrics import Metric, default_metrics, metrics_problem

__all__ = [
    "RULES",
    "CompetitionSettings",
    "FileContent",
    "Markdown",
    "NewCompetition",
    "SettingsUpdate",
    "TagIds",
    "Update",
]

MB = 2**20
_Id = Annotated[int, Field(ge=1, le=2**31 - 1)]
_Bracket = tuple[Annotated[float, Field(allow_inf_nan=False)], Annotated[int, Field(ge=0, le=100)]]
MAX_EVALUATION_S = 12 * 3600
"""Upper bound for an evaluation whose runs all use their full time limit."""

RULES = frozenset({"deletion_allowed", "quota_returned", "results_held", "rows_per_participant"})
"""Settings that may change while a competition runs: no figure of a run depends on them."""


class Body(BaseModel):
    """Base class. Unknown fields are ignored, because a newer SDK may send more fields."""

    model_config = ConfigDict(extra="ignore")


class NewCompetition(Body):
    """A new competition."""

    name: str = Field(min_length=1, max_length=200)
    kernel_version: str = Field(max_length=64)
    description: str = Field(default="", max_length=20_000)
    copy_from_competition_id: _Id | None = None
    tag_ids: list[_Id] = Field(default_factory=list, max_length=50)
    is_public: bool = True


class Update(Body):
    """Changes to a competition."""

    name: str | None = Field(default=None, min_length=1, max_length=200)
    description: str | None = Field(default=None, max_length=20_000)
    is_public: bool | None = None


class TagIds(Body):
    """New tags of a competition. May be empty."""

    tag_ids: list[_Id] = Field(max_length=50)


class FileContent(Body):
    """A text file."""

    filename: str = Field(max_length=200)
    content: str = Field(max_length=2 * MB)


class Markdown(Body):
    """The page of a competition."""

    content: str = Field(max_length=50_000)


class CompetitionSettings(BaseModel):
    """All settings of a competition.

    Attributes:
        simulation_timeout_sec: Seconds for a run, including loading and delivery of the data.
        max_upload_size_bytes: Size limit of a file.
        max_upload_files: Number of files of a submission.
        max_active_agents_per_participant: Agents of one user on the leaderboard at a time.
        evaluation_metric: Name of the reward.
        evaluation_metric2: Name of a second metric; may be empty.
        evaluation_is_elo_score: Whether agents play each other. Only False is supported.
        evaluation_deployment_nb_constraint_run: Runs that only check the limits and do not count.
        evaluation_deployment_nb_initial_score_run: Runs that count.
        evaluation_episode_budget_brackets: Pairs `[threshold, n]`. An agent whose mean reward reaches the threshold
            gets n runs in total.
        episode_budget_brackets: The same in the terms of newer clients: pairs `[threshold, n]`. An agent whose mean
            reward is below a threshold gets the n of the first such pair in total, and one that is below none the last
            n.
        metrics: What the leaderboard shows; empty for the reward alone.
        window_days: Days of the rolling window in which metrics are shown a second time; None for no window.
        required_files: Files of the environment without which the competition cannot start.
        runtime: Name of the runtime of the environment, and of submissions that name none. Empty for the environment
            of the service.
        deletion_allowed: Whether participants may delete their submissions. Organisers always may.
        quota_returned: Evaluations that do not count against a participant's limit: those that were `cancelled` before
            a run was finished, and those of submissions that were `deleted`.
        results_held: Whether scores are held back: only organisers see them until this is False.
        rows_per_participant: Rows of a participant on the leaderboard at the most, the best ones; None for all.
    """

    model_config = ConfigDict(extra="forbid")

    simulation_timeout_sec: int = Field(default=180, ge=1, le=3600)
    max_upload_size_bytes: int = Field(default=100 * MB, ge=1, le=2**40)
    max_upload_files: int = Field(default=20, ge=1, le=1000)
    max_active_agents_per_participant: int = Field(default=5, ge=1, le=1000)
    evaluation_metric: str = Field(default="accuracy", max_length=20)
    evaluation_metric2: str = Field(default="", max_length=20)
    evaluation_is_elo_score: bool = False
    evaluation_deployment_nb_constraint_run: int = Field(default=1, ge=0, le=100)
    evaluation_deployment_nb_initial_score_run: int = Field(default=10, ge=1, le=1000)
    evaluation_episode_budget_brackets: list[_Bracket] = Field(default_factory=list, max_length=100)
    episode_budget_brackets: list[_Bracket] = Field(default_factory=list, max_length=100)
    metrics: list[Metric] = Field(default_factory=list, max_length=20)
    window_days: int | None = Field(default=None, ge=1, le=3650)
    required_files: list[Annotated[str, Field(max_length=200)]] = Field(default_factory=list, max_length=50)
    runtime: str = Field(default="", max_length=64)
    deletion_allowed: bool = True
    quota_returned: list[Literal["cancelled", "deleted"]] = Field(default_factory=list, max_length=2)
    results_held: bool = False
    rows_per_participant: int | None = Field(default=None, ge=1, le=1000)

    @property
    def shown_metrics(self) -> list[Metric]:
        """What the leaderboard shows: the declared metrics, or the reward."""
        return self.metrics or default_metrics(self.evaluation_metric)

    @property
    def ranking_metric(self) -> Metric:
        """The metric by which the leaderboard ranks."""
        return next(metric for metric in self.shown_metrics if metric.is_ranking)

    @property
    def has_brackets(self) -> bool:
        """Whether rewards earn more runs."""
        return bool(self.evaluation_episode_budget_brackets or self.episode_budget_brackets)

    @property
    def lower_is_better(self) -> bool:
        """Whether a lower mean reward ranks higher."""
        return self.ranking_metric.order == "asc"

    def earned_runs(self, rewards: Sequence[float]) -> int:
        """Get the total number of runs of an agent with these rewards, by the thresholds that its mean reaches."""
        mean = sum(rewards) / len(rewards)
        reached = [n for least, n in self.evaluation_episode_budget_brackets if mean >= least]
        if self.episode_budget_brackets:
            tiers = [n for threshold, n in self.episode_budget_brackets if mean < threshold]
            reached.append(tiers[0] if tiers else self.episode_budget_brackets[-1][1])
        return max([len(rewards), *reached])

    @model_validator(mode="after")
    def _is_supported(self) -> "CompetitionSettings":
        brackets = [*self.evaluation_episode_budget_brackets, *self.episode_budget_brackets]
        for name in ("evaluation_episode_budget_brackets", "episode_budget_brackets"):
            thresholds = [bracket[0] for bracket in getattr(self, name)]
            runs = [bracket[1] for bracket in getattr(self, name)]
            if sorted(set(thresholds)) != thresholds:
                raise ValueError(f"the thresholds of {name} should ascend")
            if sorted(runs) != runs:
                raise ValueError(f"the numbers of runs of {name} should not descend")
        if problem := metrics_problem(self.metrics):
            raise ValueError(problem)
        if brackets and self.lower_is_better:
            raise ValueError("brackets give more runs to higher rewards, so they need a metric of which more is better")
        most = max([self.evaluation_deployment_nb_initial_score_run, *(count for _, count in brackets)])
        count = self.evaluation_deployment_nb_constraint_run + most
        if count * self.simulation_timeout_sec > MAX_EVALUATION_S:
            raise ValueError(f"runs of simulation_timeout_sec should come to {MAX_EVALUATION_S} seconds at the most")
        if self.evaluation_is_elo_score:
            raise ValueError("evaluation_is_elo_score should be false: agents do not play each other here")
        return self


class SettingsUpdate(BaseModel):
    """Changed settings. They are validated together with the unchanged ones."""

    model_config = ConfigDict(extra="allow")
