"""The rows of the board."""

import datetime as dt
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, lazyload

from ml_trainer_env.arena.leaderboard.statistics import differs
from ml_trainer_env.arena.tables import Agent, AgentStatus, Competition, User

__all__ = ["board", "board_query"]


def board(session: Session, competition: Competition, most: int | None = None) -> list[dict[str, Any]]:
    """Active agents, the best first; of equals the one submitted earlier.

    Args:
        session: A transaction.
        competition: Whose board.
        most: How many rows; all if None.
    """
    query = board_query(competition.id).limit(most)
    rows: list[dict[str, Any]] = []
    above: list[Any] | None = None
    for rank, (agent, name) in enumerate(session.execute(query), 1):
        rows.append(_row(rank, agent, name, competition, None if above is None else differs(above, agent.rewards)))
        above = agent.rewards
    return rows


def board_query(competition_id: int) -> sa.Select[Agent, str]:
    """Agents on the board with the names of their users, in order."""
    return (
        sa.select(Agent, User.name)
        .join(User, User.id == Agent.user_id)
        .where(Agent.competition_id == competition_id, Agent.status == AgentStatus.ACTIVE)
        .order_by(Agent.mean_reward.desc(), Agent.created_at, Agent.id)
        .options(lazyload(Agent.user))
    )


def _row(
    rank: int, agent: Agent, name: str, competition: Competition, differs_from_above: bool | None
) -> dict[str, Any]:
    settings = competition.settings
    return {
        "Rank": rank,
        "Username": name,
        "AgentName": agent.name,
        "agentAttachId": agent.id,
        "MeanReward": agent.mean_reward,
        "MeanReward2": None,
        "RewardCi95": agent.reward_ci95,
        "NEpisodes": len(agent.rewards),
        "NumberOfRuns": len(agent.rewards),
        "EloScore": None,
        "Metric": settings["evaluation_metric"],
        "Metric2": settings["evaluation_metric2"] or None,
        "SubscriptionDate": _date(agent.created_at),
        "LastRun": _date(agent.scored_at),
        "TeamName": None,
        "MaxActionTime": agent.max_run_s,
        "MaxRamBytes": agent.max_ram_bytes,
        "IsBenchmark": agent.is_benchmark,
        "DiffersFromAbove": differs_from_above,
    }


def _date(at: float | None) -> str | None:
    return None if at is None else dt.datetime.fromtimestamp(at, dt.UTC).isoformat(timespec="seconds")
