"""Earlier evaluations of the agents on a leaderboard, whose scores no longer count."""

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ml_trainer_env.arena.tables import Agent, Deploy, DeployStatus, Run, RunKind

__all__ = ["EarlierScore", "earlier_scores"]


@dataclass(frozen=True, slots=True)
class EarlierScore:
    """The mean reward of an evaluation. `at` is when it was finished, in seconds since 1970."""

    agent_id: int
    at: float
    mean: float


def earlier_scores(session: Session, agent_ids: Collection[int], most: int) -> list[EarlierScore]:
    """List the finished evaluations of agents that do not count now, latest first.

    Those before a rerun that an organiser has ordered are left out: their results were dropped. Runs of finals are left
    out, too.

    Args:
        session: A transaction.
        agent_ids: The agents.
        most: Maximum number of evaluations.
    """
    later = sa.orm.aliased(Deploy)
    dropped = sa.exists().where(later.agent_id == Deploy.agent_id, later.id > Deploy.id, later.is_rerun)
    query = (
        sa.select(Deploy.agent_id, Deploy.finished_at, sa.func.avg(Run.reward))
        .join(Agent, Agent.id == Deploy.agent_id)
        .join(Run, Run.deploy_id == Deploy.id)
        .where(
            Deploy.agent_id.in_(agent_ids),
            Deploy.status == DeployStatus.SUCCEEDED,
            Deploy.finished_at.is_not(None),
            Deploy.id != Agent.scored_deploy_id,
            Run.kind.in_((RunKind.SCORE, RunKind.EXTENDED)),
            ~dropped,
        )
        .group_by(Deploy.id, Deploy.agent_id, Deploy.finished_at)
        .order_by(Deploy.id.desc())
        .limit(most)
    )
    return [EarlierScore(agent_id, at, float(mean)) for agent_id, at, mean in session.execute(query)]
