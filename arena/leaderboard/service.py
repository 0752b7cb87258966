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

__all__ = ["board", "board_query", "find_finalists"]

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
    found = session.execute(board_query(competition.id).limit(most)).all()
    seated = {agent.id for agent in find_finalists(session, competition.id)}
    entries = [_Entry(agent, name, agent.id in seated) for agent, name in found]
    entries.sort(key=lambda entry: (-entry.mean, entry.agent.scored_deploy_id))
    rows: list[dict[str, Any]] = []
    above: _Entry | None = None
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
class _Entry:
    """An agent with the name of its user, and whether its final runs count."""

    agent: Agent
    name: str
    with_finals: bool

    @property
    def rewards(self) -> list[float]:
        return self.agent.rewards + self.agent.final_rewards if self.with_finals else self.agent.rewards

    @property
    def mean(self) -> float:
        return _mean(self.rewards) if self.with_finals else float(self.agent.mean_reward or 0.0)

    @property
    def ci95(self) -> float | None:
        return ci95(self.rewards) if self.with_finals else self.agent.reward_ci95


def _row(rank: int, entry: _Entry, competition: Competition, differs_from_above: bool | None) -> dict[str, Any]:
    settings, agent = competition.settings, entry.agent
    return {
        "Rank": rank,
        "Username": entry.name,
        "AgentName": agent.name,
        "agentAttachId": agent.id,
        "MeanReward": entry.mean,
        "MeanReward2": None,
        "RewardCi95": entry.ci95,
        "NEpisodes": len(entry.rewards),
        "NumberOfRuns": len(entry.rewards),
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


def _mean(rewards: Sequence[float]) -> float:
    return sum(rewards) / len(rewards)


def _date(at: float | None) -> str | None:
    return None if at is None else dt.datetime.fromtimestamp(at, dt.UTC).isoformat(timespec="seconds")
