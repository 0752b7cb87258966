"""Computes the rows of a leaderboard."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, lazyload

from ml_trainer_env.arena.leaderboard.finals import finalists
from ml_trainer_env.arena.leaderboard.statistics import ci95, differs
from ml_trainer_env.arena.tables import Agent, AgentStatus, Competition, User

__all__ = ["Entry", "board", "board_query", "board_rows", "find_finalists", "ranked_entries"]

_INITIAL_LIMIT = 20
"""Agents that are read first. Usually enough to find all finalists."""


def board(session: Session, competition: Competition, most: int | None = None) -> list[dict[str, Any]]:
    """Rank the active agents, best first. Of equals, the earlier submission ranks higher.

    Final runs count for finalists.

    Args:
        session: A transaction.
        competition: The competition.
        most: Maximum number of rows; None for all.
    """
    return board_rows(ranked_entries(session, competition.id, most), competition)


def ranked_entries(session: Session, competition_id: int, most: int | None = None) -> list["Entry"]:
    """Rank the active agents, best first. Of equals, the earlier submission comes first.

    Args:
        session: A transaction.
        competition_id: The competition.
        most: Maximum number of entries; None for all.
    """
    found = session.execute(board_query(competition_id).limit(most)).all()
    seated = {agent.id for agent in find_finalists(session, competition_id)}
    entries = [_entry(agent, name, agent.id in seated) for agent, name in found]
    return sorted(entries, key=lambda entry: (-entry.mean, entry.deploy_id))


def board_rows(entries: Sequence["Entry"], competition: Competition) -> list[dict[str, Any]]:
    """Get the rows of ranked agents in the format of older clients."""
    rows: list[dict[str, Any]] = []
    above: Entry | None = None
    for rank, entry in enumerate(entries, 1):
        rows.append(_row(rank, entry, competition, None if above is None else differs(above.rewards, entry.rewards)))
        above = entry
    return rows


def find_finalists(session: Session, competition_id: int) -> list[Agent]:
    """Find the agents that have played the finals, or must play them. Excludes benchmark agents."""
    limit = _INITIAL_LIMIT
    while True:
        ranked = [agent for agent, _ in session.execute(board_query(competition_id).limit(limit))]
        players = [agent for agent in ranked if not agent.is_benchmark]
        before = [float(agent.mean_reward or 0.0) for agent in players]
        after = [_mean(agent.rewards + agent.final_rewards) if agent.final_rewards else None for agent in players]
        seated = finalists(before, after, [agent.scored_deploy_id or 0 for agent in players])
        if len(seated) < len(players) or len(ranked) < limit:
            return [players[index] for index in sorted(seated)]
        limit *= 4


def board_query(competition_id: int) -> sa.Select[Agent, str]:
    """Query the agents of a leaderboard with the names of their users, in the order without finals."""
    return (
        sa.select(Agent, User.name)
        .join(User, User.id == Agent.user_id)
        .where(Agent.competition_id == competition_id, Agent.status == AgentStatus.ACTIVE)
        .order_by(Agent.mean_reward.desc(), Agent.scored_deploy_id)
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
        is_benchmark: Whether it is the benchmark of the competition.
        is_public: Whether anyone with a token may read it.
        rewards: Rewards of the runs that count, with those of the finals if they count.
        mean: Mean reward, by which agents are ranked.
        ci95: Half the width of the 95 % confidence interval of the mean; None for fewer than two runs.
        created_at: When it was created, in seconds since 1970.
        scored_at: When it was last graded, in seconds since 1970.
        deploy_id: The evaluation that graded it.
        max_run_s: Duration of its longest run in seconds.
        max_ram_bytes: Its peak memory.
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


def _entry(agent: Agent, user_name: str, with_finals: bool) -> Entry:
    rewards = agent.rewards + agent.final_rewards if with_finals else agent.rewards
    return Entry(
        agent_id=agent.id,
        name=agent.name,
        user_id=agent.user_id,
        user_name=user_name,
        is_benchmark=agent.is_benchmark,
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


def _row(rank: int, entry: Entry, competition: Competition, differs_from_above: bool | None) -> dict[str, Any]:
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
        "EloScore": None,
        "Metric": settings["evaluation_metric"],
        "Metric2": settings["evaluation_metric2"] or None,
        "SubscriptionDate": _date(entry.created_at),
        "LastRun": _date(entry.scored_at),
        "TeamName": None,
        "MaxActionTime": entry.max_run_s,
        "MaxRamBytes": entry.max_ram_bytes,
        "IsBenchmark": entry.is_benchmark,
        "DiffersFromAbove": differs_from_above,
    }


def _mean(rewards: Sequence[float]) -> float:
    return sum(rewards) / len(rewards)


def _date(at: float | None) -> str | None:
    return None if at is None else dt.datetime.fromtimestamp(at, dt.UTC).isoformat(timespec="seconds")
