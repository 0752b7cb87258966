"""Seats the finalists: when nothing else waits, the first of each board are sent into the finals."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ml_trainer_env.arena.competitions.service import settings_of
from ml_trainer_env.arena.leaderboard.service import finals_of
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions.service import run_seed
from ml_trainer_env.arena.tables import Agent, AgentStatus, Competition, Deploy, DeployStatus, Run, RunKind

__all__ = ["seat_a_finalist"]


def seat_a_finalist(session: Session, services: Services) -> bool:
    """Queue the evaluation of one finalist again, with as many more runs as it had score runs.

    Its agent stays on the board meanwhile. False if all finalists have played, or are about to.
    """
    for competition in session.scalars(sa.select(Competition).where(Competition.is_started)):
        for agent in finals_of(session, competition.id):
            if not agent.final_rewards and _seat(session, services, competition, agent):
                return True
    return False


def _seat(session: Session, services: Services, competition: Competition, agent: Agent) -> bool:
    """Seat it, unless its user is changing it, or has since it was looked at."""
    if not services.database.try_turn(session, agent.user_id):
        return False
    session.refresh(agent)
    if agent.status != AgentStatus.ACTIVE:
        return False
    query = sa.select(Deploy).where(Deploy.id == agent.scored_deploy_id, Deploy.status == DeployStatus.SUCCEEDED)
    deploy = session.scalar(query.with_for_update(skip_locked=True))
    if deploy is None:
        return False
    start = len(deploy.runs)
    for number in range(start, start + settings_of(competition).evaluation_deployment_nb_initial_score_run):
        seed = run_seed(services.key, competition, number)
        deploy.runs.append(Run(number=number, kind=RunKind.FINAL, seed=seed))
    deploy.is_final, deploy.status, deploy.lease_until, deploy.deaths = True, DeployStatus.QUEUED, 0.0, 0
    session.flush()
    return True
