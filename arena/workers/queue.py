"""The queue of evaluations in the database. Each evaluation is held by one worker at a time.

A worker claims an evaluation with a lease and renews the lease while it works. If the worker dies, the lease expires,
and another worker continues with the remaining runs. Each claim increments `attempt`, and only the latest claim may
write. So a slow worker, or the worker of a cancelled evaluation, cannot write. `submissions.order` defines the order.
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
from ml_trainer_env.arena.submissions.service import derive_seed
from ml_trainer_env.arena.tables import (
    Agent,
    AgentStatus,
    Blame,
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
    "ClaimLostError",
    "claim",
    "finish",
    "must_yield",
    "next_run",
    "record_run",
    "release",
    "renew",
]

MAX_DEATHS = 5
"""An evaluation fails after this many workers died during one run."""


class ClaimLostError(Exception):
    """The worker no longer holds the evaluation: it was cancelled, or another worker claimed it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An evaluation that a worker holds."""

    deploy_id: int
    attempt: int
    worker: str


def claim(session: Session, worker: str, lease_s: float) -> Claim | None:
    """Claim the next evaluation that is queued or whose worker has died. Returns None if there is none.

    Args:
        session: A transaction.
        worker: Name of the worker.
        lease_s: Duration of the lease in seconds.
    """
    now = time.time()
    waiting = sa.or_(
        Deploy.status == DeployStatus.QUEUED,
        sa.and_(Deploy.status == DeployStatus.RUNNING, Deploy.lease_until < now),
    )
    queue = in_order(waiting)
    for deploy_id in session.scalars(sa.select(queue.c.id).order_by(queue.c.position)):
        # Another worker may have claimed it meanwhile.
        query = sa.select(Deploy).where(Deploy.id == deploy_id, waiting).with_for_update(skip_locked=True)
        if (deploy := session.scalar(query)) is None:
            continue
        agent = session.get_one(Agent, deploy.agent_id)
        if deploy.status == DeployStatus.RUNNING:
            deploy.deaths += 1
        if deploy.deaths >= MAX_DEATHS:
            _fail(deploy, agent, f"given up: {MAX_DEATHS} workers have died over it", Blame.PLATFORM)
            continue
        deploy.status, deploy.worker, deploy.lease_until = DeployStatus.RUNNING, worker, now + lease_s
        deploy.attempt += 1
        session.get_one(User, agent.user_id).served_at = now
        if not deploy.is_final:
            agent.status, agent.last_status_message = AgentStatus.DEPLOY_RUN, "a worker runs it"
        return Claim(deploy.id, deploy.attempt, worker)
    return None


def renew(session: Session, held: Claim, lease_s: float) -> None:
    """Renew the lease.

    Raises:
        ClaimLostError: The worker no longer holds the evaluation.
    """
    _lock_claimed(session, held).lease_until = time.time() + lease_s


def release(session: Session, held: Claim) -> None:
    """Put an unfinished evaluation back into the queue. Another worker continues with the remaining runs.

    Raises:
        ClaimLostError: The worker no longer holds the evaluation.
    """
    deploy = _lock_claimed(session, held)
    agent = session.get_one(Agent, deploy.agent_id)
    deploy.status, deploy.lease_until = DeployStatus.QUEUED, 0.0
    if not deploy.is_final:
        done = sum(run.status != RunStatus.QUEUED for run in deploy.runs)
        message = f"{done} of {len(deploy.runs)} runs are done; waiting for a worker"
        agent.status, agent.last_status_message = AgentStatus.DEPLOY_QUEUE, message


def must_yield(session: Session, held: Claim, *, turn_is_over: bool) -> bool:
    """Whether another evaluation has priority.

    Any regular evaluation has priority over finals, and one that a participant deployed over reruns. After a turn,
    evaluations of other users have priority.

    Raises:
        ClaimLostError: The worker no longer holds the evaluation.
    """
    deploy = _lock_claimed(session, held)
    query = sa.select(Deploy.id).join(Agent).where(Deploy.status == DeployStatus.QUEUED, Deploy.is_final.is_(False))
    of_others, first_hand = Agent.user_id != deploy.agent.user_id, Deploy.is_rerun.is_(False)
    if deploy.is_final:
        pass
    elif deploy.is_rerun:
        query = query.where(sa.or_(of_others, first_hand) if turn_is_over else first_hand)
    elif turn_is_over:
        query = query.where(of_others, first_hand)
    else:
        return False
    return session.scalar(query.limit(1)) is not None


def next_run(session: Session, held: Claim) -> Run | None:
    """Get the first unfinished run, or None.

    Raises:
        ClaimLostError: The worker no longer holds the evaluation.
    """
    deploy = _lock_claimed(session, held)
    return next((run for run in deploy.runs if run.status == RunStatus.QUEUED), None)


def record_run(session: Session, held: Claim, run_id: int, outcome: RunOutcome, log_sha256: str) -> None:
    """Store the outcome of a run, once.

    Raises:
        ClaimLostError: The worker no longer holds the evaluation, or the run is already finished.
    """
    deploy = _lock_claimed(session, held)
    run = session.get_one(Run, run_id)
    if run.deploy_id != deploy.id or run.status != RunStatus.QUEUED:
        raise ClaimLostError(f"run {run_id} is done already")
    run.status = RunStatus.COMPLETED if outcome.error_type is None else RunStatus.ERROR
    run.reward, run.wall_s, run.peak_ram_bytes = outcome.reward, outcome.wall_s, outcome.peak_ram_bytes
    run.error_type, run.error_message, run.error_owner = outcome.error_type, outcome.error_message, outcome.error_owner
    run.log_sha256, run.finished_at = log_sha256, time.time()
    deploy.deaths = 0


def finish(session: Session, held: Claim, services: Services) -> bool:
    """Grade an evaluation after its last run or after a failed run.

    Returns:
        Whether the evaluation is finished. It is not if its mean reward has earned more runs.

    Raises:
        ClaimLostError: The worker no longer holds the evaluation.
    """
    deploy = _lock_claimed(session, held)
    agent = session.get_one(Agent, deploy.agent_id)
    failed = next((run for run in deploy.runs if run.status == RunStatus.ERROR), None)
    if failed is not None:
        message = failed.error_message or ""
        _fail(deploy, agent, f"{failed.error_type} in run {failed.number + 1}: {message}", failed.error_owner)
        return True
    if deploy.is_final:
        _succeed_in_finals(deploy, agent)
        return True
    counted = [run for run in deploy.runs if run.kind != RunKind.CONSTRAINT]
    rewards = [float(run.reward or 0.0) for run in counted]
    competition = session.get_one(Competition, agent.competition_id)
    if (more := settings_of(competition).earned_runs(rewards) - len(rewards)) > 0:
        start = len(deploy.runs)
        for number in range(start, start + more):
            seed = derive_seed(services.key, competition, number)
            deploy.runs.append(Run(number=number, kind=RunKind.EXTENDED, seed=seed))
        return False
    _succeed(deploy, agent, counted, rewards)
    return True


def _succeed(deploy: Deploy, agent: Agent, counted: list[Run], rewards: list[float]) -> None:
    now = time.time()
    deploy.status, deploy.finished_at = DeployStatus.SUCCEEDED, now
    agent.rewards, agent.mean_reward, agent.reward_ci95 = rewards, sum(rewards) / len(rewards), ci95(rewards)
    agent.final_rewards = []
    _record_maxima(agent, counted)
    agent.scored_at, agent.scored_deploy_id = now, deploy.id
    agent.status = AgentStatus.ACTIVE
    agent.last_status_message = f"mean reward {agent.mean_reward:.4f} over {len(rewards)} runs"


def _succeed_in_finals(deploy: Deploy, agent: Agent) -> None:
    deploy.status, deploy.finished_at = DeployStatus.SUCCEEDED, time.time()
    agent.final_rewards = [float(run.reward or 0.0) for run in deploy.runs if run.kind == RunKind.FINAL]
    agent.scored_at = deploy.finished_at
    _record_maxima(agent, [run for run in deploy.runs if run.kind != RunKind.CONSTRAINT])


def _record_maxima(agent: Agent, counted: list[Run]) -> None:
    agent.max_run_s = max(run.wall_s or 0.0 for run in counted)
    agent.max_ram_bytes = max(run.peak_ram_bytes or 0 for run in counted)


def _fail(deploy: Deploy, agent: Agent, message: str, owner: Blame | None) -> None:
    deploy.status, deploy.finished_at, deploy.failure_message = DeployStatus.FAILED, time.time(), message
    deploy.failure_owner = owner
    agent.status, agent.last_status_message = AgentStatus.DEPLOY_FAILED, message


def _lock_claimed(session: Session, held: Claim) -> Deploy:
    deploy: Any = session.scalar(sa.select(Deploy).where(Deploy.id == held.deploy_id).with_for_update())
    if deploy is None or deploy.status != DeployStatus.RUNNING or deploy.attempt != held.attempt:
        raise ClaimLostError(f"evaluation {held.deploy_id} is no longer {held.worker}'s")
    found: Deploy = deploy
    return found
