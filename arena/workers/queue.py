"""The queue: evaluations in the database, each held by one worker at a time.

A worker claims an evaluation by a lease, which it renews while it runs. If it dies, the lease runs out and another goes
on with the runs that are left. Each claim raises `attempt`, and whoever writes must hold the latest: a worker that was
only slow, or whose evaluation was cancelled, writes nothing. `submissions/order.py` says whose turn it is.
"""

import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ml_trainer_env.arena.competitions.service import settings_of
from ml_trainer_env.arena.leaderboard.statistics import ci95
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions.order import in_order
from ml_trainer_env.arena.submissions.service import run_seed
from ml_trainer_env.arena.tables import (
    Agent,
    AgentStatus,
    Competition,
    Deploy,
    DeployStatus,
    Run,
    RunKind,
    RunStatus,
    User,
)
from ml_trainer_env.arena.workers.outcomes import RunOutcome

__all__ = [
    "MAX_DEATHS",
    "Claim",
    "LostError",
    "claim",
    "finish",
    "has_to_wait",
    "next_run",
    "record_run",
    "release",
    "renew",
]

MAX_DEATHS = 5
"""Workers that may die over one run before its evaluation is given up."""


class LostError(Exception):
    """The evaluation is no longer this worker's: cancelled, or taken by another."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An evaluation that a worker holds."""

    deploy_id: int
    attempt: int
    worker: str


def claim(session: Session, worker: str, lease_s: float) -> Claim | None:
    """Take the evaluation whose turn it is: one that is queued, or whose worker has died.

    Args:
        session: A transaction.
        worker: Who takes it.
        lease_s: How long it is taken for, unless renewed.
    """
    now = time.time()
    waiting = sa.or_(
        Deploy.status == DeployStatus.QUEUED,
        sa.and_(Deploy.status == DeployStatus.RUNNING, Deploy.lease_until < now),
    )
    queue = in_order(waiting)
    for deploy_id in session.scalars(sa.select(queue.c.id).order_by(queue.c.position)):
        # Another worker may have it by now.
        query = sa.select(Deploy).where(Deploy.id == deploy_id, waiting).with_for_update(skip_locked=True)
        if (deploy := session.scalar(query)) is None:
            continue
        agent = session.get_one(Agent, deploy.agent_id)
        if deploy.status == DeployStatus.RUNNING:
            deploy.deaths += 1
        if deploy.deaths >= MAX_DEATHS:
            _fail(deploy, agent, f"given up: {MAX_DEATHS} workers have died over it")
            continue
        deploy.status, deploy.worker, deploy.lease_until = DeployStatus.RUNNING, worker, now + lease_s
        deploy.attempt += 1
        session.get_one(User, agent.user_id).served_at = now
        if not deploy.is_final:
            agent.status, agent.last_status_message = AgentStatus.DEPLOY_RUN, "a worker runs it"
        return Claim(deploy.id, deploy.attempt, worker)
    return None


def renew(session: Session, held: Claim, lease_s: float) -> None:
    """Hold it for longer.

    Raises:
        LostError: It is no longer this worker's.
    """
    _held(session, held).lease_until = time.time() + lease_s


def release(session: Session, held: Claim) -> None:
    """Let go of it before its end: it waits again, for another to go on with the runs that are left.

    Raises:
        LostError: It is no longer this worker's.
    """
    deploy = _held(session, held)
    agent = session.get_one(Agent, deploy.agent_id)
    deploy.status, deploy.lease_until = DeployStatus.QUEUED, 0.0
    if not deploy.is_final:
        done = sum(run.status != RunStatus.QUEUED for run in deploy.runs)
        message = f"{done} of {len(deploy.runs)} runs are done; waiting for a worker"
        agent.status, agent.last_status_message = AgentStatus.DEPLOY_QUEUE, message


def has_to_wait(session: Session, held: Claim, *, turn_is_over: bool) -> bool:
    """Whether others go first: before finals all that are none, and after its turn those of other users.

    Raises:
        LostError: It is no longer this worker's.
    """
    deploy = _held(session, held)
    if not deploy.is_final and not turn_is_over:
        return False
    query = sa.select(Deploy.id).join(Agent).where(Deploy.status == DeployStatus.QUEUED, Deploy.is_final.is_(False))
    if not deploy.is_final:
        query = query.where(Agent.user_id != deploy.agent.user_id)
    return session.scalar(query.limit(1)) is not None


def next_run(session: Session, held: Claim) -> Run | None:
    """The first run that is not done; None if all are.

    Raises:
        LostError: It is no longer this worker's.
    """
    deploy = _held(session, held)
    return next((run for run in deploy.runs if run.status == RunStatus.QUEUED), None)


def record_run(session: Session, held: Claim, run_id: int, outcome: RunOutcome, log_sha256: str) -> None:
    """Write down what came of a run, once.

    Raises:
        LostError: It is no longer this worker's.
    """
    deploy = _held(session, held)
    run = session.get_one(Run, run_id)
    if run.deploy_id != deploy.id or run.status != RunStatus.QUEUED:
        raise LostError(f"run {run_id} is done already")
    run.status = RunStatus.COMPLETED if outcome.error_type is None else RunStatus.ERROR
    run.reward, run.wall_s, run.peak_ram_bytes = outcome.reward, outcome.wall_s, outcome.peak_ram_bytes
    run.error_type, run.error_message = outcome.error_type, outcome.error_message
    run.log_sha256, run.finished_at = log_sha256, time.time()
    deploy.deaths = 0


def finish(session: Session, held: Claim, services: Services) -> bool:
    """Grade an evaluation whose runs are done, or one of whose runs failed.

    Returns:
        Whether it is over: not if its rewards have earned it more runs.

    Raises:
        LostError: It is no longer this worker's.
    """
    deploy = _held(session, held)
    agent = session.get_one(Agent, deploy.agent_id)
    failed = next((run for run in deploy.runs if run.status == RunStatus.ERROR), None)
    if failed is not None:
        message = failed.error_message or ""
        _fail(deploy, agent, f"{failed.error_type} in run {failed.number + 1}: {message}")
        return True
    if deploy.is_final:
        _succeed_in_finals(deploy, agent)
        return True
    counted = [run for run in deploy.runs if run.kind != RunKind.CONSTRAINT]
    rewards = [float(run.reward or 0.0) for run in counted]
    competition = session.get_one(Competition, agent.competition_id)
    if (more := _earned(competition, rewards) - len(rewards)) > 0:
        start = len(deploy.runs)
        for number in range(start, start + more):
            seed = run_seed(services.key, competition, number)
            deploy.runs.append(Run(number=number, kind=RunKind.EXTENDED, seed=seed))
        return False
    _succeed(deploy, agent, counted, rewards)
    return True


def _succeed(deploy: Deploy, agent: Agent, counted: list[Run], rewards: list[float]) -> None:
    now = time.time()
    deploy.status, deploy.finished_at = DeployStatus.SUCCEEDED, now
    agent.rewards, agent.mean_reward, agent.reward_ci95 = rewards, sum(rewards) / len(rewards), ci95(rewards)
    agent.final_rewards = []
    _note_extremes(agent, counted)
    agent.scored_at, agent.scored_deploy_id = now, deploy.id
    agent.status = AgentStatus.ACTIVE
    agent.last_status_message = f"mean reward {agent.mean_reward:.4f} over {len(rewards)} runs"


def _succeed_in_finals(deploy: Deploy, agent: Agent) -> None:
    deploy.status, deploy.finished_at = DeployStatus.SUCCEEDED, time.time()
    agent.final_rewards = [float(run.reward or 0.0) for run in deploy.runs if run.kind == RunKind.FINAL]
    agent.scored_at = deploy.finished_at
    _note_extremes(agent, [run for run in deploy.runs if run.kind != RunKind.CONSTRAINT])


def _note_extremes(agent: Agent, counted: list[Run]) -> None:
    agent.max_run_s = max(run.wall_s or 0.0 for run in counted)
    agent.max_ram_bytes = max(run.peak_ram_bytes or 0 for run in counted)


def _earned(competition: Competition, rewards: list[float]) -> int:
    """How many runs an agent gets in all: by the highest threshold that its mean reaches."""
    mean = sum(rewards) / len(rewards)
    reached = [n for least, n in settings_of(competition).evaluation_episode_budget_brackets if mean >= least]
    return max([len(rewards), *reached])


def _fail(deploy: Deploy, agent: Agent, message: str) -> None:
    deploy.status, deploy.finished_at, deploy.failure_message = DeployStatus.FAILED, time.time(), message
    agent.status, agent.last_status_message = AgentStatus.DEPLOY_FAILED, message


def _held(session: Session, held: Claim) -> Deploy:
    deploy: Any = session.scalar(sa.select(Deploy).where(Deploy.id == held.deploy_id).with_for_update())
    if deploy is None or deploy.status != DeployStatus.RUNNING or deploy.attempt != held.attempt:
        raise LostError(f"evaluation {held.deploy_id} is no longer {held.worker}'s")
    found: Deploy = deploy
    return found
