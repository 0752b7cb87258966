"""Queues the finals: when nothing else is waiting, the top agents of each leaderboard play more runs."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ml_trainer_env.arena.competitions.service import settings_of
from ml_trainer_env.arena.kernels import Kernel
from ml_trainer_env.arena.leaderboard.service import find_finalists
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions.service import derive_seed
from ml_trainer_env.arena.tables import Agent, AgentStatus, Competition, Deploy, DeployStatus, Run, RunKind

__all__ = ["queue_finalist"]


def queue_finalist(session: Session, services: Services) -> bool:
    """Queue the final runs of one finalist. It gets as many final runs as score runs.

    Its agent stays on the leaderboard meanwhile. Returns False if all finalists have played or are queued.
    """
    for competition in session.scalars(sa.select(Competition).where(Competition.is_started)):
        if Kernel(competition.kernel).has_matches:
            continue  # ratings follow from all matches, and a finalist would meet the same opponents again
        for agent in find_finalists(session, competition):
            if not agent.final_rewards and _queue_finals(session, services, competition, agent):
                return True
    return False


def _queue_finals(session: Session, services: Services, competition: Competition, agent: Agent) -> bool:
    """Queue the final runs of an agent, unless its user is changing or has changed it, or it has played them."""
    if not services.database.try_user_lock(session, agent.user_id):
        return False
    session.refresh(agent)
    query = sa.select(Deploy).where(Deploy.id == agent.scored_deploy_id, Deploy.status == DeployStatus.SUCCEEDED)
    deploy = session.scalar(query.with_for_update(skip_locked=True))
    if deploy is None:
        return False
    # Another worker may have finished the finals just before the evaluation was locked. Nobody can from here on.
    session.refresh(agent)
    if agent.status != AgentStatus.ACTIVE or agent.scored_deploy_id != deploy.id or agent.final_rewards:
        return False
    start = len(deploy.runs)
    for number in range(start, start + settings_of(competition).evaluation_deployment_nb_initial_score_run):
        seed = derive_seed(services.key, competition, number)
        deploy.runs.append(Run(number=number, kind=RunKind.FINAL, seed=seed))
    deploy.is_final, deploy.status, deploy.lease_until, deploy.deaths = True, DeployStatus.QUEUED, 0.0, 0
    session.flush()
    return True
