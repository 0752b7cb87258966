"""Whom a submission meets in a competition of two players."""

import hashlib
import hmac
import random

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ml_trainer_env.arena.tables import Agent, AgentStatus, Deploy, RunKind
from ml_trainer_env.arena.teams.repository import participant_ids

__all__ = ["draw_opponents", "moves_first"]


def draw_opponents(session: Session, deploy: Deploy, agent: Agent, key: bytes) -> None:
    """Draw the opponents of the runs of an evaluation from the active submissions of others, the benchmark included.

    Each opponent is met twice in a row, once with each seat. All are met before one is met again. The draw follows from
    the service's key and the evaluation, so nobody can choose opponents. Without others, and in the constraint runs, a
    submission meets itself.

    Args:
        session: A transaction.
        deploy: The evaluation, with its runs.
        agent: Its submission.
        key: The key of the service.
    """
    own = participant_ids(session, agent.competition_id, agent.user_id)
    query = sa.select(Agent.scored_deploy_id).where(
        Agent.competition_id == agent.competition_id,
        Agent.status == AgentStatus.ACTIVE,
        Agent.scored_deploy_id.is_not(None),
        sa.or_(Agent.user_id.not_in(own), Agent.is_benchmark, Agent.is_baseline),
        Agent.id != agent.id,
    )
    others = sorted(found for found in session.scalars(query) if found is not None)
    digest = hmac.new(key, f"opponents {deploy.id}".encode(), hashlib.sha256).digest()
    random.Random(digest).shuffle(others)
    counted = [run for run in deploy.runs if run.kind == RunKind.SCORE]
    for run in deploy.runs:
        run.opponent_deploy_id = deploy.id
    for place, run in enumerate(counted if others else []):
        run.opponent_deploy_id = others[place // 2 % len(others)]
    session.flush()


def moves_first(number: int) -> bool:
    """Whether a submission has the first seat in the run of this number."""
    return number % 2 == 0
