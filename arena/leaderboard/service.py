"""The rows of the board."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, lazyload

from ml_trainer_env.arena.leaderboard.finals import finalists
from ml_trainer_env.arena.leaderboard.statistics import ci95, differs
from ml_trainer_env.arena.tables import Agent, AgentStatus, Competition, User

__all__ = ["board", "board_query", "finals_of"]

_LOOKED_AT = 20
"""Of a board so many at first: mostly more than those whom the finals can move up."""


def board(session: Session, competition: Competition, most: int | None = None) -> list[dict[str, Any]]:
    """Active agents, the best first; of equals the one submitted earlier. Finals count for those who are in them.

    Args:
        session: A transaction.
        competition: Whose board.
        most: How many rows; all if None.
    """
    found = session.execute(board_query(competition.id).limit(most)).all()
    seated = {agent.id for agent in finals_of(session, competition.id)}
    lines = [_Line(agent, name, agent.id in seated) for agent, name in found]
    lines.sort(key=lambda line: (-line.mean, line.agent.scored_deploy_id))
    rows: list[dict[str, Any]] = []
    above: _Line | None = None
    for rank, line in enumerate(lines, 1):
        rows.append(_row(rank, line, competition, None if above is None else differs(above.rewards, line.rewards)))
        above = line
    return rows


def finals_of(session: Session, competition_id: int) -> list[Agent]:
    """Those who have played the finals, or should: benchmark agents are no players."""
    looked_at = _LOOKED_AT
    while True:
        ranked = [agent for agent, _ in session.execute(board_query(competition_id).limit(looked_at))]
        players = [agent for agent in ranked if not agent.is_benchmark]
        before = [float(agent.mean_reward or 0.0) for agent in players]
        after = [_mean(agent.rewards + agent.final_rewards) if agent.final_rewards else None for agent in players]
        seated = finalists(before, after, [agent.scored_deploy_id or 0 for agent in players])
        if len(seated) < len(players) or len(ranked) < looked_at:
            return [players[index] for index in sorted(seated)]
        looked_at *= 4


def board_query(competition_id: int) -> sa.Select[Agent, str]:
    """Agents on the board with the names of their users, in the order that they have without finals."""
    return (
        sa.select(Agent, User.name)
        .join(User, User.id == Agent.user_id)
        .where(Agent.competition_id == competition_id, Agent.status == AgentStatus.ACTIVE)
        .order_by(Agent.mean_reward.desc(), Agent.scored_deploy_id)
        .options(lazyload(Agent.user))
    )


@dataclass(frozen=True, slots=True)
class _Line:
    """An agent with the name of its user, and whether its finals count."""

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


def _row(rank: int, line: _Line, competition: Competition, differs_from_above: bool | None) -> dict[str, Any]:
    settings, agent = competition.settings, line.agent
    return {
        "Rank": rank,
        "Username": line.name,
        "AgentName": agent.name,
        "agentAttachId": agent.id,
        "MeanReward": line.mean,
        "MeanReward2": None,
        "RewardCi95": line.ci95,
        "NEpisodes": len(line.rewards),
        "NumberOfRuns": len(line.rewards),
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
