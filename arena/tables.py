"""The data model: all tables of the service.

Times are seconds since 1970, as floats. Files are named by their SHA-256; what they hold is in `blobs`. A change here
needs a migration in `migrations/versions`.
"""

import time
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

__all__ = [
    "Agent",
    "AgentFile",
    "AgentStatus",
    "AuditEntry",
    "Base",
    "Competition",
    "CompetitionFile",
    "Course",
    "Deploy",
    "DeployStatus",
    "Enrollment",
    "FilePurpose",
    "Run",
    "RunKind",
    "RunStatus",
    "Runtime",
    "Scope",
    "Tag",
    "Token",
    "User",
]


class Scope(StrEnum):
    """What a token is for."""

    USER = "user"
    """Submitting agents and joining courses."""

    CREATOR = "creator"
    """Making competitions."""

    TEACHER = "teacher"
    """Making courses."""


class AgentStatus(StrEnum):
    """Where a submission stands."""

    CREATED = "created"
    """It has no files yet."""

    UPLOAD_VALIDATED = "upload_validated"
    """Its files make an agent."""

    UPLOAD_FAILED = "upload_failed"
    """Its files do not; `last_status_message` says why."""

    DEPLOY_QUEUE = "deploy_queue"
    """It waits for a worker."""

    DEPLOY_RUN = "deploy_run"
    """A worker runs it."""

    ACTIVE = "active"
    """It has a score, and is on the board."""

    DEPLOY_FAILED = "deploy_failed"
    """It failed; `last_status_message` says how."""

    DELETED = "deleted"
    """Its owner took it back."""


class DeployStatus(StrEnum):
    """Where one evaluation of a submission stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    """Deployed again, or deleted, before it was done."""


class RunKind(StrEnum):
    """What a run is for."""

    CONSTRAINT = "constraint"
    """Shows that the agent keeps the limits; its reward does not count."""

    SCORE = "score"
    """Counts."""

    EXTENDED = "extended"
    """Counts, too: more runs for whoever reaches a threshold of the competition's."""

    FINAL = "final"
    """Counts among the first of the board, who are ranked by all of their runs."""


class RunStatus(StrEnum):
    """Where one run stands. The names are the SDK's."""

    QUEUED = "queued"
    COMPLETED = "completed"
    ERROR = "error"


class FilePurpose(StrEnum):
    """What a competition's file is for."""

    ENV = "env"
    BENCHMARK = "benchmark"


class Base(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = {dict[str, Any]: sa.JSON(), list[Any]: sa.JSON()}  # noqa: RUF012 - SQLAlchemy's own


class User(Base):
    """Someone with tokens. `served_at` is when a worker last took up an evaluation of theirs."""

    __tablename__ = "user"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(64), unique=True)
    created_at: Mapped[float] = mapped_column(default=time.time)
    served_at: Mapped[float] = mapped_column(default=0.0)


class Token(Base):
    """A bearer token: found by `lookup`, proved by the hash of its secret."""

    __tablename__ = "api_token"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"))
    scope: Mapped[Scope] = mapped_column(sa.String(16))
    lookup: Mapped[str] = mapped_column(sa.String(32), unique=True)
    secret_sha256: Mapped[str] = mapped_column(sa.String(64))
    created_at: Mapped[float] = mapped_column(default=time.time)
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]

    user: Mapped[User] = relationship(lazy="joined")


class Runtime(Base):
    """What agents run on: a Python and a framework that this host has."""

    __tablename__ = "agent_runtime"
    __table_args__ = (sa.UniqueConstraint("language_version", "framework", "framework_version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    language: Mapped[str] = mapped_column(sa.String(32))
    language_version: Mapped[str] = mapped_column(sa.String(32))
    framework: Mapped[str] = mapped_column(sa.String(64))
    framework_version: Mapped[str] = mapped_column(sa.String(32))
    requirement: Mapped[str] = mapped_column(sa.Text, default="")
    available: Mapped[bool] = mapped_column(default=True)


class Tag(Base):
    """A word by which competitions are found."""

    __tablename__ = "tag"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(64), unique=True)


competition_tag = sa.Table(
    "competition_tag",
    Base.metadata,
    sa.Column("competition_id", sa.ForeignKey("competition.id"), primary_key=True),
    sa.Column("tag_id", sa.ForeignKey("tag.id"), primary_key=True),
)


class Competition(Base):
    """A competition. `settings` holds what `competitions.settings` names."""

    __tablename__ = "competition"

    id: Mapped[int] = mapped_column(primary_key=True)
    creator_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"))
    name: Mapped[str] = mapped_column(sa.String(200))
    kernel: Mapped[str] = mapped_column(sa.String(64))
    description: Mapped[str] = mapped_column(sa.Text, default="")
    markdown: Mapped[str] = mapped_column(sa.Text, default="")
    image_sha256: Mapped[str | None] = mapped_column(sa.String(64))
    is_public: Mapped[bool] = mapped_column(default=True)
    is_started: Mapped[bool] = mapped_column(default=False)
    settings: Mapped[dict[str, Any]]
    created_at: Mapped[float] = mapped_column(default=time.time)

    creator: Mapped[User] = relationship(lazy="joined")
    tags: Mapped[list[Tag]] = relationship(secondary=competition_tag, order_by=Tag.name)


class CompetitionFile(Base):
    """A file of a competition's environment or benchmark agent."""

    __tablename__ = "competition_file"
    __table_args__ = (sa.UniqueConstraint("competition_id", "purpose", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    competition_id: Mapped[int] = mapped_column(sa.ForeignKey("competition.id"))
    purpose: Mapped[FilePurpose] = mapped_column(sa.String(16))
    name: Mapped[str] = mapped_column(sa.String(128))
    sha256: Mapped[str] = mapped_column(sa.String(64))
    size: Mapped[int]


class Agent(Base):
    """A submission: an agent attached to a competition.

    `rewards` and what follows from them are of the runs before the finals, `final_rewards` of the finals alone.
    """

    __tablename__ = "attached_agent"
    __table_args__ = (
        sa.Index(
            "attached_agent_board", "competition_id", "status", sa.desc("mean_reward"), "scored_deploy_id", "scored_at"
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    competition_id: Mapped[int] = mapped_column(sa.ForeignKey("competition.id"))
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"), index=True)
    name: Mapped[str] = mapped_column(sa.String(64))
    runtime_id: Mapped[int | None] = mapped_column(sa.ForeignKey("agent_runtime.id"))
    is_benchmark: Mapped[bool] = mapped_column(default=False)
    status: Mapped[AgentStatus] = mapped_column(sa.String(24), default=AgentStatus.CREATED)
    last_status_message: Mapped[str] = mapped_column(sa.Text, default="")
    files_ok: Mapped[bool] = mapped_column(default=False)
    files_message: Mapped[str] = mapped_column(sa.Text, default="there is no agent.py")
    created_at: Mapped[float] = mapped_column(default=time.time)
    scored_at: Mapped[float | None]
    mean_reward: Mapped[float | None]
    reward_ci95: Mapped[float | None]
    rewards: Mapped[list[Any]] = mapped_column(default=list)
    final_rewards: Mapped[list[Any]] = mapped_column(default=list)
    max_run_s: Mapped[float | None]
    max_ram_bytes: Mapped[int | None] = mapped_column(sa.BigInteger)
    scored_deploy_id: Mapped[int | None]

    user: Mapped[User] = relationship(lazy="joined")
    competition: Mapped[Competition] = relationship()


class AgentFile(Base):
    """A file of a submission, as it is now."""

    __tablename__ = "agent_file"
    __table_args__ = (sa.UniqueConstraint("agent_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    agent_id: Mapped[int] = mapped_column(sa.ForeignKey("attached_agent.id"))
    name: Mapped[str] = mapped_column(sa.String(128))
    sha256: Mapped[str] = mapped_column(sa.String(64))
    size: Mapped[int] = mapped_column(sa.BigInteger)


class Deploy(Base):
    """One evaluation of a submission: a job.

    `files` are the files as they were when it was deployed: name to SHA-256. A worker that runs it holds the lease
    until `lease_until` and renews it; `attempt` counts those who have taken it, and is the fence: only the latest may
    write. `deaths` counts those who have died since its last run was done. `is_final` once its agent is in the finals.
    """

    __tablename__ = "deploy"
    __table_args__ = (sa.Index("deploy_queue", "status", "lease_until", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    agent_id: Mapped[int] = mapped_column(sa.ForeignKey("attached_agent.id"), index=True)
    status: Mapped[DeployStatus] = mapped_column(sa.String(16), default=DeployStatus.QUEUED)
    is_final: Mapped[bool] = mapped_column(default=False)
    files: Mapped[dict[str, Any]]
    created_at: Mapped[float] = mapped_column(default=time.time)
    finished_at: Mapped[float | None]
    failure_message: Mapped[str | None] = mapped_column(sa.Text)
    worker: Mapped[str | None] = mapped_column(sa.String(64))
    lease_until: Mapped[float] = mapped_column(default=0.0)
    attempt: Mapped[int] = mapped_column(default=0)
    deaths: Mapped[int] = mapped_column(default=0)

    agent: Mapped[Agent] = relationship()
    runs: Mapped[list["Run"]] = relationship(back_populates="deploy", order_by="Run.number")


class Run(Base):
    """One task of an evaluation. Its seed is drawn when it is deployed, so that a retry comes to the same."""

    __tablename__ = "run"
    __table_args__ = (sa.UniqueConstraint("deploy_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    deploy_id: Mapped[int] = mapped_column(sa.ForeignKey("deploy.id"))
    number: Mapped[int]
    kind: Mapped[RunKind] = mapped_column(sa.String(16))
    seed: Mapped[int] = mapped_column(sa.BigInteger)
    status: Mapped[RunStatus] = mapped_column(sa.String(16), default=RunStatus.QUEUED)
    reward: Mapped[float | None]
    wall_s: Mapped[float | None]
    peak_ram_bytes: Mapped[int | None] = mapped_column(sa.BigInteger)
    error_type: Mapped[str | None] = mapped_column(sa.String(32))
    error_message: Mapped[str | None] = mapped_column(sa.Text)
    log_sha256: Mapped[str | None] = mapped_column(sa.String(64))
    finished_at: Mapped[float | None]

    deploy: Mapped[Deploy] = relationship(back_populates="runs")


class Course(Base):
    """A course, with the link by which students join it."""

    __tablename__ = "course"

    id: Mapped[int] = mapped_column(primary_key=True)
    teacher_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"))
    name: Mapped[str] = mapped_column(sa.String(200))
    code: Mapped[str] = mapped_column(sa.String(64))
    start_date: Mapped[str] = mapped_column(sa.String(10))
    end_date: Mapped[str] = mapped_column(sa.String(10))
    instructor_name: Mapped[str | None] = mapped_column(sa.String(200))
    competition_id: Mapped[int | None] = mapped_column(sa.ForeignKey("competition.id"))
    link: Mapped[str] = mapped_column(sa.String(64), unique=True)


class Enrollment(Base):
    """A student of a course."""

    __tablename__ = "enrollment"
    __table_args__ = (sa.UniqueConstraint("course_id", "user_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    course_id: Mapped[int] = mapped_column(sa.ForeignKey("course.id"))
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"))
    student_email: Mapped[str | None] = mapped_column(sa.String(200))
    student_number: Mapped[str | None] = mapped_column(sa.String(64))
    project_url: Mapped[str | None] = mapped_column(sa.String(500))
    created_at: Mapped[float] = mapped_column(default=time.time)


class AuditEntry(Base):
    """Who did what, when. Never holds a secret."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float] = mapped_column(default=time.time)
    user_id: Mapped[int | None]
    action: Mapped[str] = mapped_column(sa.String(64))
    subject: Mapped[str] = mapped_column(sa.String(200))
