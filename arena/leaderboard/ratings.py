"""Ratings of the submissions to a competition in which they meet."""

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from ml_trainer_env.arena.leaderboard.bradley_terry import Match, Rating, fit
from ml_trainer_env.arena.tables import Agent, AgentStatus, Deploy, Run, RunKind, RunStatus

__all__ = ["ratings_of"]


def ratings_of(session: Session, competition_id: int) -> dict[int, Rating]:
    """Rate the active submissions to a competition by all matches of their evaluations that count.

    A match against files that have been replaced since does not count, nor one against oneself.

    Returns:
        Ratings by the ids of agents.
    """
    on_board = Agent.competition_id == competition_id, Agent.status == AgentStatus.ACTIVE
    players = list(session.scalars(sa.select(Agent.id).where(*on_board).order_by(Agent.id)))
    other = aliased(Agent)
    query = (
        sa.select(Agent.id, other.id, Run.reward)
        .join(Deploy, Deploy.id == Agent.scored_deploy_id)
        .join(Run, Run.deploy_id == Deploy.id)
        .join(other, other.scored_deploy_id == Run.opponent_deploy_id)
        .where(
            *on_board,
            other.status == AgentStatus.ACTIVE,
            other.competition_id == competition_id,
            other.id != Agent.id,
            Run.kind == RunKind.SCORE,
            Run.status == RunStatus.COMPLETED,
        )
        .order_by(Run.id)
    )
    matches = [Match(first, second, float(reward or 0.0)) for first, second, reward in session.execute(query)]
    found = fit(players, matches)
    return {player: found[player] for player in players}
