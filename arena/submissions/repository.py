"""Queries for submissions."""

from collections.abc import Collection
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from ml_trainer_env.arena.competitions.repository import can_edit, can_see
from ml_trainer_env.arena.errors import NotFoundError
from ml_trainer_env.arena.submissions.order import in_order
from ml_trainer_env.arena.tables import (
    Agent,
    AgentFile,
    AgentStatus,
    Course,
    CourseAssistant,
    CourseModule,
    Deploy,
    DeployStatus,
    Enrollment,
    ModuleChallenge,
    Run,
    RunKind,
)
from ml_trainer_env.arena.teams.repository import participant_ids

__all__ = [
    "ViewerRole",
    "agent_files",
    "count_active",
    "count_agents_since",
    "count_on_board",
    "deploys_since",
    "finished_runs",
    "latest_deploy",
    "open_deploys",
    "own_agent",
    "position_in_queue",
    "readable_agent",
    "viewer_role",
]

OPEN = (DeployStatus.QUEUED, DeployStatus.RUNNING)


def own_agent(session: Session, agent_id: int, user_id: int, competition_id: int | None = None) -> Agent:
    """Get a submission of this user.

    Raises:
        NotFoundError: It does not exist, is deleted, is a benchmark agent, belongs to another user or another
            competition, or its competition is hidden.
    """
    agent = session.get(Agent, agent_id, options=[joinedload(Agent.competition)])
    if (
        agent is None
        or agent.user_id != user_id
        or agent.is_benchmark
        or agent.status == AgentStatus.DELETED
        or not can_see(session, agent.competition, user_id)
        or (competition_id is not None and agent.competition_id != competition_id)
    ):
        raise NotFoundError("there is no such agent")
    return agent


class ViewerRole(StrEnum):
    """What the reader of a submission is to it."""

    OWNER = "owner"
    TEAMMATE = "teammate"
    STAFF = "staff"
    """The creator of the competition, or an assistant."""

    TEACHER = "teacher"
    """A teacher of a course in which the owner learns and which teaches the competition."""

    PUBLIC = "public"
    """Anyone with a token, if the owner has published the submission."""


def readable_agent(session: Session, agent_id: int, user_id: int) -> tuple[Agent, ViewerRole]:
    """Get a submission that a user may read, and what the user is to it.

    Raises:
        NotFoundError: It does not exist, is deleted, or the user may not read it or may not see its competition.
    """
    agent = session.get(Agent, agent_id, options=[joinedload(Agent.competition)])
    if agent is None or agent.status == AgentStatus.DELETED or not can_see(session, agent.competition, user_id):
        raise NotFoundError("there is no such submission")
    role = viewer_role(session, agent, user_id)
    if role is None:
        raise NotFoundError("there is no such submission")
    return agent, role


def viewer_role(session: Session, agent: Agent, user_id: int) -> ViewerRole | None:
    """Find out what a user is to a submission. None if the user may not read it.

    Nobody owns a benchmark agent: it belongs to the competition, and its staff reads it.
    """
    if agent.user_id == user_id and not agent.is_benchmark:
        return ViewerRole.OWNER
    if not agent.is_benchmark and user_id in participant_ids(session, agent.competition_id, agent.user_id):
        return ViewerRole.TEAMMATE
    if can_edit(session, agent.competition, user_id):
        return ViewerRole.STAFF
    if not agent.is_benchmark and _teaches(session, user_id, agent):
        return ViewerRole.TEACHER
    return ViewerRole.PUBLIC if agent.is_public else None


def _teaches(session: Session, user_id: int, agent: Agent) -> bool:
    """Whether a user teaches a course in which the owner learns and which teaches the competition."""
    helps = sa.select(CourseAssistant.course_id).where(CourseAssistant.user_id == user_id)
    query = (
        sa.select(Course.id)
        .join(Enrollment, Enrollment.course_id == Course.id)
        .join(CourseModule, CourseModule.course_id == Course.id)
        .join(ModuleChallenge, ModuleChallenge.module_id == CourseModule.module_id)
        .where(
            Enrollment.user_id == agent.user_id,
            ModuleChallenge.competition_id == agent.competition_id,
            sa.or_(Course.teacher_id == user_id, Course.id.in_(helps)),
        )
    )
    return session.scalar(query.limit(1)) is not None


def agent_files(session: Session, agent_id: int) -> list[AgentFile]:
    """List the files of a submission, sorted by name."""
    return list(session.scalars(sa.select(AgentFile).where(AgentFile.agent_id == agent_id).order_by(AgentFile.name)))


def latest_deploy(session: Session, agent_id: int) -> Deploy | None:
    """Get the last evaluation, finished or not."""
    return session.scalar(sa.select(Deploy).where(Deploy.agent_id == agent_id).order_by(Deploy.id.desc()).limit(1))


def open_deploys(session: Session, agent_id: int) -> list[Deploy]:
    """List and lock the unfinished evaluations of an agent. Normally there is at most one."""
    query = sa.select(Deploy).where(Deploy.agent_id == agent_id, Deploy.status.in_(OPEN))
    return list(session.scalars(query.with_for_update()))


def count_agents_since(session: Session, user_id: int, since: float) -> int:
    """Count the agents that a user has created, including deleted ones."""
    query = sa.select(sa.func.count()).where(Agent.user_id == user_id, Agent.created_at >= since)
    return session.scalar(query.select_from(Agent)) or 0


def deploys_since(
    session: Session,
    user_id: int,
    competition_id: int,
    is_benchmark: bool,
    since: float,
    returned: Collection[str] = (),
    most_returned: int = 0,
) -> list[float]:
    """List the times of a user's deployments to a competition that count, earliest first.

    Excludes the reruns that organisers ordered.

    Args:
        session: A transaction.
        user_id: The user.
        competition_id: The competition.
        is_benchmark: Whether to list those of the benchmark instead of the user's own.
        since: Time in seconds since 1970.
        returned: Which deployments do not count: `cancelled` before a run was finished, or of `deleted` agents.
        most_returned: How many of these do not count at the most. Later ones do.
    """
    begun = sa.exists().where(Run.deploy_id == Deploy.id, Run.finished_at.is_not(None))
    conditions = {
        "cancelled": sa.and_(Deploy.status == DeployStatus.CANCELLED, ~begun),
        "deleted": Agent.status == AgentStatus.DELETED,
    }
    is_returned = sa.or_(sa.false(), *(conditions[name] for name in returned))
    of_user = Agent.user_id == user_id, Agent.competition_id == competition_id, Agent.is_benchmark == is_benchmark
    query = sa.select(Deploy.created_at, is_returned).join(Agent).where(Deploy.is_rerun.is_(False), *of_user)
    found = session.execute(query.where(Deploy.created_at >= since).order_by(Deploy.created_at, Deploy.id)).all()
    back = [at for at, is_back in found if is_back][most_returned:]
    return sorted([*(at for at, is_back in found if not is_back), *back])


def count_on_board(session: Session, agent: Agent) -> int:
    """Count the other submissions of the same participant and competition that are active or being evaluated."""
    return count_active(session, agent.competition_id, agent.user_id, agent.id)


def count_active(session: Session, competition_id: int, user_id: int, but: int | None = None) -> int:
    """Count the submissions of a participant to a competition that are active or being evaluated, but no baselines.

    Args:
        session: A transaction.
        competition_id: The competition.
        user_id: A user, who is the participant or a member of the team that is.
        but: A submission that is not counted.
    """
    on_the_way = (AgentStatus.ACTIVE, AgentStatus.DEPLOY_QUEUE, AgentStatus.DEPLOY_RUN)
    query = sa.select(sa.func.count()).where(
        Agent.competition_id == competition_id,
        Agent.user_id.in_(participant_ids(session, competition_id, user_id)),
        Agent.status.in_(on_the_way),
        Agent.is_benchmark.is_(False),
        Agent.is_baseline.is_(False),
    )
    if but is not None:
        query = query.where(Agent.id != but)
    return session.scalar(query.select_from(Agent)) or 0


def position_in_queue(session: Session, deploy: Deploy) -> int:
    """Get the position of an evaluation in the queue; 1 is next."""
    queue = in_order(Deploy.status == DeployStatus.QUEUED)
    return session.scalar(sa.select(queue.c.position).where(queue.c.id == deploy.id)) or 1


def finished_runs(session: Session, agent_id: int, most: int = 200) -> list[Run]:
    """List the finished runs of an agent, latest first."""
    query = (
        sa.select(Run)
        .join(Deploy)
        .where(Deploy.agent_id == agent_id, Run.finished_at.is_not(None))
        .order_by(Run.id.desc())
        .limit(most)
    )
    return list(session.scalars(query))


def runs_of_kind(deploy: Deploy, *kinds: RunKind) -> list[Run]:
    """List the runs of some kinds, in order."""
    return [run for run in deploy.runs if run.kind in kinds]
