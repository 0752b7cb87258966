"""The data model: all tables of the service.

Times are seconds since 1970, as floats. Files are referred to by their SHA-256; `files.blobs` stores their content. A
change here needs a migration in `migrations/versions`.
"""

import time
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

__all__ = [
    "NO_AGENT",
    "Agent",
    "AgentFile",
    "AgentStatus",
    "AuditEntry",
    "Base",
    "Blame",
    "Competition",
    "CompetitionAssistant",
    "CompetitionFile",
    "Course",
    "CourseAssistant",
    "CourseModule",
    "Dataset",
    "DatasetFile",
    "Deploy",
    "DeployStatus",
    "Enrollment",
    "FilePurpose",
    "Invitation",
    "InvitationStatus",
    "Lesson",
    "LessonMedia",
    "LessonProgress",
    "Module",
    "ModuleChallenge",
    "Run",
    "RunKind",
    "RunStatus",
    "Runtime",
    "Scope",
    "ServiceKey",
    "Tag",
    "Team",
    "TeamMember",
    "TeamRole",
    "Token",
    "User",
    "Visibility",
]


NO_AGENT = (
    "there is no agent.py. A class of a notebook cell becomes one with %%writefile agent.py as the first line of the "
    'cell, and files=["agent.py"]'
)
"""What is wrong with a submission that has no files yet. Clients cannot send every class by themselves."""


class Scope(StrEnum):
    """Permissions of a token."""

    USER = "user"
    """Submit agents and join courses."""

    CREATOR = "creator"
    """Create competitions."""

    TEACHER = "teacher"
    """Create courses."""

    WORKER = "worker"
    """Evaluate submissions. The token of one worker, which no endpoint takes."""


class AgentStatus(StrEnum):
    """Status of a submission."""

    CREATED = "created"
    """It has no files yet."""

    UPLOAD_VALIDATED = "upload_validated"
    """Its files are a valid agent."""

    UPLOAD_FAILED = "upload_failed"
    """Its files are not a valid agent. `last_status_message` gives the reason."""

    DEPLOY_QUEUE = "deploy_queue"
    """It is waiting for a worker."""

    DEPLOY_RUN = "deploy_run"
    """A worker is running it."""

    ACTIVE = "active"
    """It has a score and is on the leaderboard."""

    DEPLOY_FAILED = "deploy_failed"
    """Its evaluation failed. `last_status_message` gives the reason."""

    DELETED = "deleted"
    """Its owner deleted it."""


class DeployStatus(StrEnum):
    """Status of one evaluation of a submission."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    """The submission was deployed again, or deleted, before this evaluation finished."""


class RunKind(StrEnum):
    """Purpose of a run."""

    CONSTRAINT = "constraint"
    """Checks that the agent keeps the limits. Its reward does not count."""

    SCORE = "score"
    """Its reward counts."""

    EXTENDED = "extended"
    """An additional run for an agent that reached a reward threshold of the competition. Its reward counts."""

    FINAL = "final"
    """An additional run for a finalist. Finalists are ranked by all of their runs."""


class RunStatus(StrEnum):
    """Status of one run, with the names that the SDK uses."""

    QUEUED = "queued"
    COMPLETED = "completed"
    ERROR = "error"


class Blame(StrEnum):
    """Who caused a failure."""

    PARTICIPANT = "participant"
    """The submission's code."""

    CHALLENGE = "challenge"
    """The competition's environment."""

    PLATFORM = "platform"
    """This service: its workers died."""


class TeamRole(StrEnum):
    """Role of a user in a team."""

    LEADER = "leader"
    MEMBER = "member"


class InvitationStatus(StrEnum):
    """Status of an invitation to a team."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    CANCELLED = "cancelled"


class Visibility(StrEnum):
    """Who may find a course, or use a module of another teacher."""

    PRIVATE = "private"
    """Its members and teachers."""

    UNLISTED = "unlisted"
    """Everybody who knows its address. It is in no list."""

    PUBLIC = "public"


class FilePurpose(StrEnum):
    """Purpose of a competition's file."""

    ENV = "env"
    BENCHMARK = "benchmark"


class Base(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = {dict[str, Any]: sa.JSON(), list[Any]: sa.JSON()}  # noqa: RUF012 - SQLAlchemy's own


class User(Base):
    """An owner of tokens.

    `served_at` is when a worker last claimed one of the user's evaluations. `profile` has what the user tells about
    themself.
    """

    __tablename__ = "user"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(64), unique=True)
    created_at: Mapped[float] = mapped_column(default=time.time)
    served_at: Mapped[float] = mapped_column(default=0.0)
    profile: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Token(Base):
    """A bearer token. It is found by `lookup` and verified by the hash of its secret."""

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
    """A runtime for agents: a Python version and packages.

    If `environment` is empty, it is the environment of this service, and the row tells of one framework in it.
    Otherwise it is a virtual environment that the operator has added: `framework` is the name that the operator gave
    it, `framework_version` counts how often, and `environment` is its folder. `packages` are all that it has, by name
    and version, and `modules` what can be imported there.
    """

    __tablename__ = "agent_runtime"
    __table_args__ = (sa.UniqueConstraint("language_version", "framework", "framework_version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    language: Mapped[str] = mapped_column(sa.String(32))
    language_version: Mapped[str] = mapped_column(sa.String(32))
    framework: Mapped[str] = mapped_column(sa.String(64))
    framework_version: Mapped[str] = mapped_column(sa.String(32))
    requirement: Mapped[str] = mapped_column(sa.Text, default="")
    available: Mapped[bool] = mapped_column(default=True)
    environment: Mapped[str] = mapped_column(sa.String(64), default="")
    packages: Mapped[dict[str, Any]] = mapped_column(default=dict)
    modules: Mapped[list[Any]] = mapped_column(default=list)


class Tag(Base):
    """A keyword for competitions."""

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
    """A competition.

    `settings` is a `competitions.schemas.CompetitionSettings` as JSON. `config_origin` is a
    `competitions.config.Origin` as JSON: which settings the file challenge.toml holds, and which a caller has set.
    `started_at` is when it started first; a competition that has it and is not started is stopped.
    """

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
    started_at: Mapped[float | None]
    agent_template: Mapped[str | None] = mapped_column(sa.Text)
    settings: Mapped[dict[str, Any]]
    config_origin: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[float] = mapped_column(default=time.time)

    creator: Mapped[User] = relationship(lazy="joined")
    tags: Mapped[list[Tag]] = relationship(secondary=competition_tag, order_by=Tag.name)


class CompetitionAssistant(Base):
    """A user who may edit a competition like its creator."""

    __tablename__ = "competition_assistant"

    competition_id: Mapped[int] = mapped_column(sa.ForeignKey("competition.id"), primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"), primary_key=True, index=True)
    created_at: Mapped[float] = mapped_column(default=time.time)


class Dataset(Base):
    """A set of files that a competition gives to its participants."""

    __tablename__ = "dataset"

    id: Mapped[int] = mapped_column(primary_key=True)
    competition_id: Mapped[int] = mapped_column(sa.ForeignKey("competition.id"), index=True)
    label: Mapped[str] = mapped_column(sa.String(200))
    description: Mapped[str] = mapped_column(sa.Text, default="")

    files: Mapped[list["DatasetFile"]] = relationship(order_by="DatasetFile.id", cascade="all, delete-orphan")


class DatasetFile(Base):
    """A file of a dataset. `label` is its name."""

    __tablename__ = "dataset_file"

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(sa.ForeignKey("dataset.id"), index=True)
    label: Mapped[str] = mapped_column(sa.String(128))
    sha256: Mapped[str] = mapped_column(sa.String(64))
    size: Mapped[int] = mapped_column(sa.BigInteger)


class Team(Base):
    """Users who take part in one competition together."""

    __tablename__ = "team"

    id: Mapped[int] = mapped_column(primary_key=True)
    competition_id: Mapped[int] = mapped_column(sa.ForeignKey("competition.id"), index=True)
    name: Mapped[str] = mapped_column(sa.String(64))
    looking_for_members: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[float] = mapped_column(default=time.time)

    members: Mapped[list["TeamMember"]] = relationship(order_by="TeamMember.id", cascade="all, delete-orphan")


class TeamMember(Base):
    """A member of a team. A user is in one team of a competition at the most."""

    __tablename__ = "team_member"
    __table_args__ = (sa.UniqueConstraint("competition_id", "user_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    team_id: Mapped[int] = mapped_column(sa.ForeignKey("team.id"), index=True)
    competition_id: Mapped[int] = mapped_column(sa.ForeignKey("competition.id"))
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"), index=True)
    role: Mapped[TeamRole] = mapped_column(sa.String(16))

    user: Mapped[User] = relationship(lazy="joined")


class Invitation(Base):
    """An invitation of a user to a team."""

    __tablename__ = "team_invitation"

    id: Mapped[int] = mapped_column(primary_key=True)
    team_id: Mapped[int] = mapped_column(sa.ForeignKey("team.id"), index=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"), index=True)
    sender_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"))
    status: Mapped[InvitationStatus] = mapped_column(sa.String(16), default=InvitationStatus.PENDING)
    created_at: Mapped[float] = mapped_column(default=time.time)

    team: Mapped[Team] = relationship(lazy="joined")
    user: Mapped[User] = relationship(lazy="joined", foreign_keys=[user_id])
    sender: Mapped[User] = relationship(lazy="joined", foreign_keys=[sender_id])


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
    """A submission: an agent in a competition.

    `rewards`, `mean_reward` and `reward_ci95` cover the runs before the finals, `final_rewards` only the finals. Anyone
    with a token may read an agent with `is_public`. An agent with `is_baseline` is shown as a yardstick: an organiser
    has marked it. `changed_at` is when its name, `is_public` or `is_baseline` last changed.
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
    is_baseline: Mapped[bool] = mapped_column(default=False)
    status: Mapped[AgentStatus] = mapped_column(sa.String(24), default=AgentStatus.CREATED)
    last_status_message: Mapped[str] = mapped_column(sa.Text, default="")
    files_ok: Mapped[bool] = mapped_column(default=False)
    files_message: Mapped[str] = mapped_column(sa.Text, default=NO_AGENT)
    created_at: Mapped[float] = mapped_column(default=time.time)
    scored_at: Mapped[float | None]
    mean_reward: Mapped[float | None]
    reward_ci95: Mapped[float | None]
    rewards: Mapped[list[Any]] = mapped_column(default=list)
    final_rewards: Mapped[list[Any]] = mapped_column(default=list)
    max_run_s: Mapped[float | None]
    max_ram_bytes: Mapped[int | None] = mapped_column(sa.BigInteger)
    scored_deploy_id: Mapped[int | None]
    is_public: Mapped[bool] = mapped_column(default=False)
    changed_at: Mapped[float] = mapped_column(default=0.0)

    user: Mapped[User] = relationship(lazy="joined")
    competition: Mapped[Competition] = relationship()


class AgentFile(Base):
    """A current file of a submission."""

    __tablename__ = "agent_file"
    __table_args__ = (sa.UniqueConstraint("agent_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    agent_id: Mapped[int] = mapped_column(sa.ForeignKey("attached_agent.id"))
    name: Mapped[str] = mapped_column(sa.String(128))
    sha256: Mapped[str] = mapped_column(sa.String(64))
    size: Mapped[int] = mapped_column(sa.BigInteger)


class Deploy(Base):
    """One evaluation of a submission: a job.

    `files` maps file names to SHA-256 at the time of the deployment. The worker that runs it holds a lease until
    `lease_until` and renews it. `attempt` counts claims and is the fencing token: only the latest claim may write.
    `deaths` counts workers that died since the last finished run. `is_final` is set when its agent is in the finals,
    `is_rerun` when an organiser ordered it. Reruns are served after the evaluations that participants deploy, and do
    not count against a participant's limit. `runtime_id` is the agent's runtime at the time of the deployment.
    """

    __tablename__ = "deploy"
    __table_args__ = (sa.Index("deploy_queue", "status", "lease_until", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    agent_id: Mapped[int] = mapped_column(sa.ForeignKey("attached_agent.id"), index=True)
    status: Mapped[DeployStatus] = mapped_column(sa.String(16), default=DeployStatus.QUEUED)
    is_final: Mapped[bool] = mapped_column(default=False)
    is_rerun: Mapped[bool] = mapped_column(default=False)
    files: Mapped[dict[str, Any]]
    runtime_id: Mapped[int | None]
    created_at: Mapped[float] = mapped_column(default=time.time)
    finished_at: Mapped[float | None]
    failure_message: Mapped[str | None] = mapped_column(sa.Text)
    failure_owner: Mapped[Blame | None] = mapped_column(sa.String(16))
    worker: Mapped[str | None] = mapped_column(sa.String(64))
    lease_until: Mapped[float] = mapped_column(default=0.0)
    attempt: Mapped[int] = mapped_column(default=0)
    deaths: Mapped[int] = mapped_column(default=0)

    agent: Mapped[Agent] = relationship()
    runs: Mapped[list["Run"]] = relationship(back_populates="deploy", order_by="Run.number")


class Run(Base):
    """One task of an evaluation. Its seed is fixed at deployment, so that a retry gives the same result.

    In a competition in which submissions meet, `opponent_deploy_id` is the evaluation whose files are the opponent.
    """

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
    error_owner: Mapped[Blame | None] = mapped_column(sa.String(16))
    log_sha256: Mapped[str | None] = mapped_column(sa.String(64))
    finished_at: Mapped[float | None]
    opponent_deploy_id: Mapped[int | None]

    deploy: Mapped[Deploy] = relationship(back_populates="runs")


class Course(Base):
    """A course. `link` is the code with which students join. Dates are ISO dates; an empty one means no limit.

    `competition_id` is the competition that an older client names when it creates the course.
    """

    __tablename__ = "course"
    __table_args__ = (sa.Index("course_slug", "slug", unique=True),)

    id: Mapped[int] = mapped_column(primary_key=True)
    teacher_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"))
    name: Mapped[str] = mapped_column(sa.String(200))
    code: Mapped[str] = mapped_column(sa.String(64))
    start_date: Mapped[str] = mapped_column(sa.String(10))
    end_date: Mapped[str] = mapped_column(sa.String(10))
    instructor_name: Mapped[str | None] = mapped_column(sa.String(200))
    competition_id: Mapped[int | None] = mapped_column(sa.ForeignKey("competition.id"))
    link: Mapped[str] = mapped_column(sa.String(64), unique=True)
    slug: Mapped[str] = mapped_column(sa.String(80))
    description: Mapped[str] = mapped_column(sa.Text, default="")
    visibility: Mapped[Visibility] = mapped_column(sa.String(16), default=Visibility.PRIVATE)
    cover_sha256: Mapped[str | None] = mapped_column(sa.String(64))

    teacher: Mapped[User] = relationship(lazy="joined")


class CourseAssistant(Base):
    """A user who may do in a course what its teacher may, but for its assistants."""

    __tablename__ = "course_assistant"

    course_id: Mapped[int] = mapped_column(sa.ForeignKey("course.id"), primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"), primary_key=True, index=True)
    created_at: Mapped[float] = mapped_column(default=time.time)


class Module(Base):
    """A part of courses: lessons and competitions. Students see a published module only."""

    __tablename__ = "module"
    __table_args__ = (sa.UniqueConstraint("owner_id", "slug"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"))
    slug: Mapped[str] = mapped_column(sa.String(80))
    title: Mapped[str] = mapped_column(sa.String(200))
    summary: Mapped[str] = mapped_column(sa.Text, default="")
    icon: Mapped[str | None] = mapped_column(sa.String(64))
    visibility: Mapped[Visibility] = mapped_column(sa.String(16), default=Visibility.PRIVATE)
    is_published: Mapped[bool] = mapped_column(default=True)
    forked_from_id: Mapped[int | None]

    lessons: Mapped[list["Lesson"]] = relationship(order_by="Lesson.position, Lesson.id", cascade="all, delete-orphan")
    challenges: Mapped[list["ModuleChallenge"]] = relationship(
        order_by="ModuleChallenge.position, ModuleChallenge.competition_id", cascade="all, delete-orphan"
    )


class CourseModule(Base):
    """A module of a course."""

    __tablename__ = "course_module"

    course_id: Mapped[int] = mapped_column(sa.ForeignKey("course.id"), primary_key=True)
    module_id: Mapped[int] = mapped_column(sa.ForeignKey("module.id"), primary_key=True, index=True)
    position: Mapped[int]

    module: Mapped[Module] = relationship(lazy="joined")


class ModuleChallenge(Base):
    """A competition of a module. A student passes with a score of at least `pass_threshold`; None for no bar."""

    __tablename__ = "module_challenge"

    module_id: Mapped[int] = mapped_column(sa.ForeignKey("module.id"), primary_key=True)
    competition_id: Mapped[int] = mapped_column(sa.ForeignKey("competition.id"), primary_key=True, index=True)
    label: Mapped[str | None] = mapped_column(sa.String(200))
    position: Mapped[int]
    pass_threshold: Mapped[float | None]

    competition: Mapped[Competition] = relationship(lazy="joined")


class Lesson(Base):
    """A lesson in Markdown. Only members of a course may read a gated one."""

    __tablename__ = "lesson"
    __table_args__ = (sa.UniqueConstraint("module_id", "slug"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    module_id: Mapped[int] = mapped_column(sa.ForeignKey("module.id"))
    parent_id: Mapped[int | None] = mapped_column(sa.ForeignKey("lesson.id"))
    slug: Mapped[str] = mapped_column(sa.String(80))
    title: Mapped[str] = mapped_column(sa.String(200))
    kind: Mapped[str] = mapped_column(sa.String(16))
    body_md: Mapped[str] = mapped_column(sa.Text, default="")
    gated: Mapped[bool] = mapped_column(default=False)
    is_published: Mapped[bool] = mapped_column(default=False)
    estimated_minutes: Mapped[int | None]
    position: Mapped[int]

    module: Mapped[Module] = relationship(overlaps="lessons")
    media: Mapped[list["LessonMedia"]] = relationship(order_by="LessonMedia.filename", cascade="all, delete-orphan")


class LessonMedia(Base):
    """A file of a lesson."""

    __tablename__ = "lesson_media"
    __table_args__ = (sa.UniqueConstraint("lesson_id", "filename"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    lesson_id: Mapped[int] = mapped_column(sa.ForeignKey("lesson.id"))
    filename: Mapped[str] = mapped_column(sa.String(128))
    sha256: Mapped[str] = mapped_column(sa.String(64))
    size: Mapped[int] = mapped_column(sa.BigInteger)


class LessonProgress(Base):
    """What a student of a course has read. `completed_at` is None until the student says that the lesson is done."""

    __tablename__ = "lesson_progress"

    course_id: Mapped[int] = mapped_column(sa.ForeignKey("course.id"), primary_key=True)
    lesson_id: Mapped[int] = mapped_column(sa.ForeignKey("lesson.id"), primary_key=True, index=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("user.id"), primary_key=True)
    viewed_at: Mapped[float]
    completed_at: Mapped[float | None]


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

    course: Mapped[Course] = relationship(lazy="joined")
    user: Mapped[User] = relationship(lazy="joined")


class ServiceKey(Base):
    """The signing key of a service whose workers are on several machines. A single row."""

    __tablename__ = "service_key"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key_hex: Mapped[str] = mapped_column(sa.String(128))


class AuditEntry(Base):
    """One action of a user; of the operator if `user_id` is None. Never contains a secret.

    `competition_id` is the competition whose organisers may read it, if there is one.
    """

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float] = mapped_column(default=time.time)
    user_id: Mapped[int | None]
    action: Mapped[str] = mapped_column(sa.String(64))
    subject: Mapped[str] = mapped_column(sa.String(200))
    competition_id: Mapped[int | None] = mapped_column(index=True)
