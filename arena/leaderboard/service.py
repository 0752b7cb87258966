"""Computes the rows of a leaderboard."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, lazyload

from ml_trainer_env.arena.competitions.metrics import Metric
from ml_trainer_env.arena.competitions.service import settings_of
from ml_trainer_env.arena.kernels import Kernel
from ml_trainer_env.arena.leaderboard.finals import PLACES, best_rows, finalists, ranked
from ml_trainer_env.arena.leaderboard.ratings import ratings_of
from ml_trainer_env.arena.leaderboard.statistics import ci95, differs
from ml_trainer_env.arena.tables import Agent, AgentStatus, Competition, User
from ml_trainer_env.arena.teams.repository import teams_by_user

__all__ = [
    "Entry",
    "board",
    "board_query",
    "board_rows",
    "figure_of",
    "find_finalists",
    "participant",
    "ranked_by",
    "ranked_entries",
]

_INITIAL_LIMIT = 20
"""Agents that are read first. Usually enough to find all finalists."""


def board(
    session: Session, competition: Competition, most: int | None = None, metric: Metric | None = None
) -> list[dict[str, Any]]:
    """Rank the active agents, best first. Of equals, the earlier submission ranks higher.

    Final runs count for finalists.

    Args:
        session: A transaction.
        competition: The competition.
        most: Maximum number of rows; None for all.
        metric: The metric to rank by; None for that of the competition.
    """
    if metric is None:
        return board_rows(ranked_entries(session, competition, most), competition)
    return board_rows(ranked_by(ranked_entries(session, competition), metric)[:most], competition, metric)


def ranked_entries(session: Session, competition: Competition, most: int | None = None) -> list["Entry"]:
    """Rank the active agents that have a row, best first. Of equals, the earlier submission comes first.

    Args:
        session: A transaction.
        competition: The competition.
        most: Maximum number of entries; None for all.
    """
    settings = settings_of(competition)
    rows = settings.rows_per_participant
    if Kernel(competition.kernel).has_matches:
        entries = _rated_entries(session, competition)
    else:
        query = board_query(competition.id, settings.lower_is_better).limit(most if rows is None else None)
        seated = {agent.id for agent in find_finalists(session, competition)}
        entries = [_entry(agent, name, agent.id in seated) for agent, name in session.execute(query)]
    sign = 1 if settings.lower_is_better else -1
    entries.sort(key=lambda entry: (sign * entry.mean, entry.deploy_id))
    if rows is None:
        return entries[:most]
    teams = _team_ids(session, competition.id)
    return [entries[place] for place in best_rows([participant(one, teams) for one in entries], rows)][:most]


def _rated_entries(session: Session, competition: Competition) -> list["Entry"]:
    """Get the active agents of a competition in which they meet. Their means are their ratings."""
    ratings = ratings_of(session, competition.id)
    found = []
    for agent, name in session.execute(board_query(competition.id)):
        rating = ratings[agent.id]
        found.append(replace(_entry(agent, name, False), mean=rating.value, ci95=rating.ci95, is_rated=True))
    return found


def ranked_by(entries: Sequence["Entry"], metric: Metric) -> list["Entry"]:
    """Rank ranked agents by another metric. Agents without a figure come last.

    Args:
        entries: The agents in the order of the leaderboard.
        metric: A metric with an order.
    """
    if metric.is_ranking:
        return list(entries)
    sign = 1 if metric.order == "asc" else -1
    figures = {entry.agent_id: figure_of(entry, metric) for entry in entries}

    def key(entry: Entry) -> tuple[bool, float, int]:
        figure = figures[entry.agent_id]
        return figure is None, 0.0 if figure is None else sign * figure, entry.deploy_id

    return sorted(entries, key=key)


def figure_of(entry: "Entry", metric: Metric) -> float | int | None:
    """Get the figure of a ranked agent under a metric; None without one."""
    if metric.is_ranking:
        return entry.mean
    return metric.aggregate(entry.rewards, entry.max_run_s, entry.max_ram_bytes)


def participant(entry: "Entry", teams: Mapping[int, int]) -> tuple[str, int]:
    """Get who takes part with an agent: a team, a user without a team, or a yardstick.

    Args:
        entry: The agent.
        teams: Ids of teams by the ids of their members.
    """
    if entry.is_benchmark:
        return "benchmark", entry.agent_id
    team = teams.get(entry.user_id)
    return ("user", entry.user_id) if team is None else ("team", team)


def board_rows(
    entries: Sequence["Entry"], competition: Competition, metric: Metric | None = None
) -> list[dict[str, Any]]:
    """Get the rows of ranked agents in the format of older clients.

    Args:
        entries: The agents, best first.
        competition: The competition.
        metric: The metric by which they are ranked; None for that of the competition.
    """
    rows: list[dict[str, Any]] = []
    above: Entry | None = None
    for rank, entry in enumerate(entries, 1):
        is_tested = (metric is None or metric.is_ranking) and not entry.is_rated
        verdict = differs(above.rewards, entry.rewards) if above is not None and is_tested else None
        rows.append(_row(rank, entry, competition, verdict, metric))
        above = entry
    return rows


def find_finalists(session: Session, competition: Competition) -> list[Agent]:
    """Find the agents that have played the finals, or must play them. Excludes benchmarks and baselines."""
    settings = settings_of(competition)
    rows = settings.rows_per_participant
    teams = {} if rows is None else _team_ids(session, competition.id)
    sign = -1 if settings.lower_is_better else 1
    limit = _INITIAL_LIMIT
    while True:
        query = board_query(competition.id, settings.lower_is_better).limit(limit)
        read = [agent for agent, _ in session.execute(query)]
        players = [agent for agent in read if not (agent.is_benchmark or agent.is_baseline)]
        before = [sign * float(agent.mean_reward or 0.0) for agent in players]
        after = [sign * _mean(one.rewards + one.final_rewards) if one.final_rewards else None for one in players]
        submitted = [agent.scored_deploy_id or 0 for agent in players]
        whose = [teams.get(agent.user_id, -agent.user_id) for agent in players]
        seated = finalists(before, after, submitted, PLACES, whose, rows)
        # An agent with a row that is not seated ranks above all that have not been read.
        order = ranked(before, after, submitted, seated, whose, rows)
        if len(read) < limit or not seated.issuperset(order):
            return [players[index] for index in sorted(seated)]
        limit *= 4


def board_query(competition_id: int, lower_is_better: bool = False) -> sa.Select[Agent, str]:
    """Query the agents of a leaderboard with the names of their users, in the order without finals."""
    mean = Agent.mean_reward.asc() if lower_is_better else Agent.mean_reward.desc()
    return (
        sa.select(Agent, User.name)
        .join(User, User.id == Agent.user_id)
        .where(Agent.competition_id == competition_id, Agent.status == AgentStatus.ACTIVE)
        .order_by(mean, Agent.scored_deploy_id)
        .options(lazyload(Agent.user))
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """A ranked agent.

    Attributes:
        agent_id: Its id.
        name: Its name.
        user_id: Its owner.
        user_name: Name of its owner.
        is_benchmark: Whether it is a yardstick: the benchmark of the competition, or a baseline.
        is_public: Whether anyone with a token may read it.
        rewards: Rewards of the runs that count, with those of the finals if they count.
        mean: Mean reward, by which agents are ranked.
        ci95: Half the width of the 95 % confidence interval of the mean; None for fewer than two runs.
        created_at: When it was created, in seconds since 1970.
        scored_at: When it was last graded, in seconds since 1970.
        deploy_id: The evaluation that graded it.
        max_run_s: Duration of its longest run in seconds.
        max_ram_bytes: Its peak memory.
        is_rated: Whether `mean` is a rating, because agents meet, and `rewards` are results of matches.
    """

    agent_id: int
    name: str
    user_id: int
    user_name: str
    is_benchmark: bool
    is_public: bool
    rewards: tuple[float, ...]
    mean: float
    ci95: float | None
    created_at: float
    scored_at: float | None
    deploy_id: int
    max_run_s: float | None
    max_ram_bytes: int | None
    is_rated: bool = False


def _entry(agent: Agent, user_name: str, with_finals: bool) -> Entry:
    rewards = agent.rewards + agent.final_rewards if with_finals else agent.rewards
    return Entry(
        agent_id=agent.id,
        name=agent.name,
        user_id=agent.user_id,
        user_name=user_name,
        is_benchmark=agent.is_benchmark or agent.is_baseline,
        is_public=agent.is_public,
        rewards=tuple(rewards),
        mean=_mean(rewards) if with_finals else float(agent.mean_reward or 0.0),
        ci95=ci95(rewards) if with_finals else agent.reward_ci95,
        created_at=agent.created_at,
        scored_at=agent.scored_at,
        deploy_id=agent.scored_deploy_id or 0,
        max_run_s=agent.max_run_s,
        max_ram_bytes=agent.max_ram_bytes,
    )


def _row(
    rank: int, entry: Entry, competition: Competition, differs_from_above: bool | None, metric: Metric | None
) -> dict[str, Any]:
    settings = competition.settings
    return {
        "Rank": rank,
        "Username": entry.user_name,
        "AgentName": entry.name,
        "agentAttachId": entry.agent_id,
        "MeanReward": entry.mean,
        "MeanReward2": None,
        "RewardCi95": entry.ci95,
        "NEpisodes": len(entry.rewards),
        "NumberOfRuns": len(entry.rewards),
        "EloScore": entry.mean if entry.is_rated else None,
        "Metric": settings["evaluation_metric"],
        "Metric2": settings["evaluation_metric2"] or None,
        "SubscriptionDate": _date(entry.created_at),
        "LastRun": _date(entry.scored_at),
        "TeamName": None,
        "MaxActionTime": entry.max_run_s,
        "MaxRamBytes": entry.max_ram_bytes,
        "IsBenchmark": entry.is_benchmark,
        "DiffersFromAbove": differs_from_above,
    } | ({} if metric is None else {"MetricValue": figure_of(entry, metric)})


def _team_ids(session: Session, competition_id: int) -> dict[int, int]:
    return {user_id: team.id for user_id, team in teams_by_user(session, competition_id).items()}


def _mean(rewards: Sequence[float]) -> float:
    return sum(rewards) / len(rewards)


def _date(at: float | None) -> str | None:
    return None if at is None else dt.datetime.fromtimestamp(at, dt.UTC).isoformat(timespec="seconds")
