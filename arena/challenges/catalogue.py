"""HTTP endpoints that read challenges: the list, one challenge, its picture, its datasets, tags, replays, counters."""

from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import FileResponse
from sqlalchemy.orm import Session, selectinload

from ml_trainer_env.arena.access import Anybody, InjectedServices, User
from ml_trainer_env.arena.challenges.board import open_board
from ml_trainer_env.arena.challenges.values import (
    KIND_LABEL,
    MACHINE,
    challenge_context,
    challenge_status,
    iso,
    runtime_row,
)
from ml_trainer_env.arena.competitions.images import IMAGE_START, image_type
from ml_trainer_env.arena.competitions.repository import list_competitions, visible_competition, visible_to
from ml_trainer_env.arena.competitions.service import settings_of, template_of
from ml_trainer_env.arena.errors import ForbiddenError, NotFoundError, RefusedError
from ml_trainer_env.arena.kernels import Kernel
from ml_trainer_env.arena.leaderboard.cache import Boards
from ml_trainer_env.arena.runtimes import runtimes
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.tables import (
    Agent,
    AgentStatus,
    Competition,
    Dataset,
    DatasetFile,
    Scope,
    Tag,
    TeamMember,
    competition_tag,
)
from ml_trainer_env.arena.tables import User as UserTable

__all__ = ["dataset_rows", "image_file", "miniature", "router"]

router = APIRouter(tags=["challenges"])

Id = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.get("/api/challenges/")
def challenges(
    caller: Anybody,
    services: InjectedServices,
    request: Request,
    q: Annotated[str, Query(max_length=200)] = "",
    tags: Annotated[str, Query(max_length=500)] = "",
    status: Literal["started", "all"] = "started",
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
    per_page: Annotated[int, Query(ge=1, le=100)] = 24,
) -> dict[str, Any]:
    """List one page of the challenges that the caller may see, newest first."""
    wanted = [tag for tag in tags.split(",") if tag]
    started = True if status == "started" else None
    reader_id = caller.user_id if caller else None
    with services.database.transaction(read_only=True) as session:
        found, more = list_competitions(session, q, started, wanted, page, per_page, reader_id)
        counts = _counts(session, [competition.id for competition in found])
        boards: Boards = request.app.state.boards
        joined = _joined(session, reader_id)
        items = [
            _card(session, competition, counts, boards, reader_id if competition.id in joined else None)
            for competition in found
        ]
    return {"items": items, "metadata": {"page": page, "per_page": per_page, "has_next": more}}


@router.get("/api/challenges/{cid}")
def challenge(cid: Id, caller: Anybody, services: InjectedServices, request: Request) -> dict[str, Any]:
    """Get a challenge: its limits, its machine and its runtimes."""
    reader_id = caller.user_id if caller else None
    with services.database.transaction(read_only=True) as session:
        found = visible_competition(session, cid, reader_id)
        settings = settings_of(found)
        card = _card(session, found, _counts(session, [cid]), request.app.state.boards, reader_id)
        return card | {
            "is_public": found.is_public,
            "creator": found.creator.name,
            "created_at_ts": iso(found.created_at),
            "start_date_ts": iso(found.started_at),
            "markdown": found.markdown,
            "machine": MACHINE,
            "agent_template": template_of(found),
            "entry_filename": "agent.py",
            "submission_filename": None,
            "submission_layout": None,
            "runtime_options": [runtime_row(runtime) for runtime in runtimes(session)],
            "metrics": [metric.model_dump() for metric in settings.shown_metrics],
            "window_days": settings.window_days,
            "simulation_timeout_sec": settings.simulation_timeout_sec,
            "max_upload_size_bytes": settings.max_upload_size_bytes,
            "max_upload_files": settings.max_upload_files,
            "max_active_submissions_per_participant": settings.max_active_agents_per_participant,
            "deployment_nb_constraint_run": settings.evaluation_deployment_nb_constraint_run,
            "deployment_nb_initial_score_run": settings.evaluation_deployment_nb_initial_score_run,
            "number_of_agents": 1,
            "agent_cpu_limit": "2",
            "agent_memory_limit": "4Gi",
            "gpu_memory_limit": None,
            "has_gpu": False,
        }


@router.get("/api/challenge_asset/{cid}/image/miniature", response_class=FileResponse)
def picture(cid: Id, caller: Anybody, services: InjectedServices) -> FileResponse:
    """Get the picture of a challenge."""
    with services.database.transaction(read_only=True) as session:
        found = visible_competition(session, cid, caller.user_id if caller else None)
    return image_file(found.image_sha256, services)


@router.get("/api/challenges/{cid}/datasets")
@router.get("/api/competitions/{cid}/datasets")
def datasets(cid: Id, caller: User, services: InjectedServices) -> dict[str, Any]:
    """List the datasets of a challenge. Each file has a signed URL that needs no token."""
    with services.database.transaction(read_only=True) as session:
        visible_competition(session, cid, caller.user_id)
        return {"datasets": dataset_rows(session, cid, services)}


@router.get("/datasets/{file_id}", response_class=FileResponse)
def dataset_file(
    file_id: Id,
    services: InjectedServices,
    expires: Annotated[int, Query()] = 0,
    signature: Annotated[str, Query()] = "",
) -> FileResponse:
    """Get a file of a dataset. Needs a signed URL and no token."""
    if not services.is_signed(f"/datasets/{file_id}", expires, signature):
        raise NotFoundError("the URL is not signed, or no longer good")
    with services.database.transaction(read_only=True) as session:
        file = session.get(DatasetFile, file_id)
    if file is None:
        raise NotFoundError("there is no such file")
    headers = {"X-Content-Type-Options": "nosniff"}
    return FileResponse(
        services.blobs.path(file.sha256), media_type="application/octet-stream", filename=file.label, headers=headers
    )


@router.get("/api/challenges/{cid}/replays")
@router.get("/api/competitions/{cid}/recent-replays")
def replays(
    cid: Id,
    caller: Anybody,
    services: InjectedServices,
) -> dict[str, Any]:
    """List the runs that recorded a replay. The kinds of this service record no frames, so the list is empty."""
    with services.database.transaction(read_only=True) as session:
        found = visible_competition(session, cid, caller.user_id if caller else None)
        return {"replays": [], "challenge_context": challenge_context(found)}


@router.get("/api/challenges/{cid}/replays/{run_id}")
def replay(cid: Id, caller: Anybody, services: InjectedServices) -> dict[str, Any]:
    """Always refused: the kinds of this service record no frames."""
    with services.database.transaction(read_only=True) as session:
        visible_competition(session, cid, caller.user_id if caller else None)
    raise NotFoundError("the run has no replay: the kinds of this service record no frames")


@router.get("/api/challenge_tags/tags")
def tags(caller: Anybody, services: InjectedServices) -> list[dict[str, Any]]:
    """List all tags, each with the number of started challenges that the caller may see."""
    seen = sa.select(Competition.id).where(visible_to(caller.user_id if caller else None), Competition.is_started)
    count = sa.func.count(competition_tag.c.competition_id)
    query = (
        sa.select(Tag, count)
        .outerjoin(
            competition_tag, sa.and_(competition_tag.c.tag_id == Tag.id, competition_tag.c.competition_id.in_(seen))
        )
        .group_by(Tag.id)
        .order_by(Tag.name)
    )
    with services.database.transaction(read_only=True) as session:
        return [
            {"id": tag.id, "name": tag.name, "description": "", "challenge_count": number}
            for tag, number in session.execute(query)
        ]


@router.get("/api/public/stats/")
def stats(caller: Anybody, services: InjectedServices) -> dict[str, int]:
    """Count the users, the started challenges that the caller may see, and the submissions."""
    visible = sa.and_(visible_to(caller.user_id if caller else None), Competition.is_started)
    with services.database.transaction(read_only=True) as session:
        return {
            "users": session.scalar(sa.select(sa.func.count(UserTable.id))) or 0,
            "challenges": session.scalar(sa.select(sa.func.count(Competition.id)).where(visible)) or 0,
            "submissions": session.scalar(sa.select(sa.func.count(Agent.id)).where(~Agent.is_benchmark)) or 0,
        }


@router.get("/api/machines/")
def machines(
    caller: User, services: InjectedServices, kernel_version: Annotated[str, Query(max_length=64)] = ""
) -> list[dict[str, Any]]:
    """List the machines for challenges: this service is one. For creators and teachers."""
    if caller.scope is Scope.USER:
        raise ForbiddenError("this needs a token of the scope creator or teacher")
    if kernel_version and kernel_version not in {*Kernel}:
        raise RefusedError(f"kernel_version should be one of {', '.join(Kernel)}, got {kernel_version!r}")
    kernels = [kernel for kernel in Kernel if not kernel_version or kernel == kernel_version]
    queue = {"machine_id": 1, "is_public": True, "is_default": True, "worker_replicas": services.settings.workers}
    rows = [{"id": number, "kernel_version": kernel, **queue} for number, kernel in enumerate(kernels, 1)]
    return [
        {
            **MACHINE,
            "gpu_count": 0,
            "gpu_device_ids": [],
            "job_cpu_max": "2",
            "job_memory_max": "4Gi",
            "job_timeout_max_sec": 3600,
            "max_concurrent_jobs": services.settings.workers,
            "is_enabled": True,
            "kernels": rows,
        }
    ]


def miniature(competition: Competition) -> str | None:
    """Get the path of a challenge's picture; None without one."""
    return f"/api/challenge_asset/{competition.id}/image/miniature" if competition.image_sha256 else None


def image_file(sha256: str | None, services: Services) -> FileResponse:
    """Answer with a picture.

    Raises:
        NotFoundError: There is none.
    """
    if sha256 is None:
        raise NotFoundError("there is no picture")
    path = services.blobs.path(sha256)
    with path.open("rb") as file:
        media_type = image_type(file.read(IMAGE_START))
    return FileResponse(path, media_type=media_type, headers={"X-Content-Type-Options": "nosniff"})


def dataset_rows(session: Session, competition_id: int, services: Services) -> list[dict[str, Any]]:
    """Get the datasets of a challenge with the signed URLs of their files."""
    query = sa.select(Dataset).where(Dataset.competition_id == competition_id).options(selectinload(Dataset.files))
    return [
        {
            "id": dataset.id,
            "label": dataset.label,
            "description": dataset.description,
            "files": [
                {
                    "id": file.id,
                    "label": file.label,
                    "file_size_bytes": file.size,
                    "download_url": services.signed_url(f"/datasets/{file.id}"),
                }
                for file in dataset.files
            ],
        }
        for dataset in session.scalars(query.order_by(Dataset.id))
    ]


def _card(
    session: Session,
    competition: Competition,
    counts: dict[int, tuple[int, int]],
    boards: Boards,
    reader_id: int | None,
) -> dict[str, Any]:
    submissions, participants = counts.get(competition.id, (0, 0))
    own = None if reader_id is None else open_board(session, boards, competition, reader_id).own_place()
    return {
        "id": competition.id,
        "name": competition.name,
        "description": competition.description,
        "miniature": miniature(competition),
        "status": challenge_status(competition),
        "is_award_points": competition.is_public,
        "number_of_agents": 1,
        "tags": [tag.name for tag in competition.tags],
        "statistics": {"submissions": submissions, "participants": participants},
        "kernel_version": competition.kernel,
        "kind_label": KIND_LABEL,
        "my_rank": own.rank if own else None,
        "course": None,
    }


def _joined(session: Session, user_id: int | None) -> set[int]:
    """Get the ids of the competitions in which a user or a team of the user can have a place."""
    active = sa.select(Agent.competition_id).where(Agent.user_id == user_id, Agent.status == AgentStatus.ACTIVE)
    in_team = sa.select(TeamMember.competition_id).where(TeamMember.user_id == user_id)
    return set() if user_id is None else {*session.scalars(active), *session.scalars(in_team)}


def _counts(session: Session, ids: list[int]) -> dict[int, tuple[int, int]]:
    """Count the submissions and the users of competitions."""
    query = (
        sa.select(Agent.competition_id, sa.func.count(), sa.func.count(Agent.user_id.distinct()))
        .where(Agent.competition_id.in_(ids), Agent.status != AgentStatus.DELETED, ~Agent.is_benchmark)
        .group_by(Agent.competition_id)
    )
    return {cid: (submissions, users) for cid, submissions, users in session.execute(query)}
