"""HTTP endpoints for submissions: those of their owner, and the one read for everybody who may see a submission."""

import time
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session, joinedload

from ml_trainer_env.arena.access import InjectedServices, Participant, User
from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.challenges.board import figures, open_board
from ml_trainer_env.arena.challenges.runs import deploy_row, failure_row, run_rows
from ml_trainer_env.arena.challenges.values import (
    challenge_context,
    iso,
    owner_block,
    runtime_row,
    status_block,
    team_block,
)
from ml_trainer_env.arena.competitions.repository import can_see
from ml_trainer_env.arena.competitions.service import holds_results, settings_of
from ml_trainer_env.arena.errors import ArenaError, NotFoundError, RefusedError
from ml_trainer_env.arena.files.names import file_path
from ml_trainer_env.arena.leaderboard.cache import Boards
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.submissions.files import parse_ahead, receive_file
from ml_trainer_env.arena.submissions.repository import (
    ViewerRole,
    agent_files,
    count_on_board,
    latest_deploy,
    own_agent,
    position_in_queue,
    readable_agent,
)
from ml_trainer_env.arena.submissions.schemas import RuntimeChoice
from ml_trainer_env.arena.tables import Agent, AgentFile, AgentStatus, Deploy, DeployStatus, Run, RunKind, RunStatus
from ml_trainer_env.arena.tables import Runtime as RuntimeTable
from ml_trainer_env.arena.teams.repository import team_of

__all__ = ["router", "submission_page"]

router = APIRouter(prefix="/api/submissions", tags=["submissions"])

Id = Annotated[int, Path(ge=1, le=2**31 - 1)]

_LANGUAGES = {".py": "python", ".json": "json", ".md": "markdown", ".yaml": "yaml", ".toml": "toml"}
_TEXT_BYTES = 1_000_000
_NAME = r"^\w[\w .,+@=()\[\]&#!'-]*$"
_NEVER_GRADED = {
    "score": None,
    "score_ci95": None,
    "metrics": None,
    "metrics_window": None,
    "number_of_runs": 0,
    "last_end_run_ts": None,
    "action_time_max_sec": None,
    "agent_metric_total_ram_max_bytes": None,
    "agent_metric_vram_max_bytes": None,
}


class NewSubmission(BaseModel):
    """A new submission."""

    model_config = ConfigDict(extra="ignore")

    submission_name: str = Field(min_length=1, max_length=64, pattern=_NAME)
    copy_from_submission_id: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None


class SubmissionChange(BaseModel):
    """A new name, or whether everybody may read the submission."""

    model_config = ConfigDict(extra="ignore")

    submission_name: str | None = Field(default=None, min_length=1, max_length=40, pattern=_NAME)
    is_public: bool | None = None


@router.post("/challenge/{cid}", status_code=201)
def create(cid: Id, wanted: NewSubmission, caller: Participant, services: InjectedServices) -> dict[str, Any]:
    """Create a submission."""
    source = wanted.copy_from_submission_id
    if source is not None:
        parse_ahead(services, caller.user_id, source)
    with services.database.transaction(by=caller.user_id) as session:
        made = service.attach(session, caller.user_id, cid, wanted.submission_name, source, services.sources)
        return {
            "message": f"submission {made.name} was created",
            "submission_id": made.id,
            "validation_message": made.files_message,
            "template_source": None if source is None else "submission",
            **status_block(made),
        }


@router.put("/challenge/{cid}/{sid}/file")
async def put_file(
    cid: Id, sid: Id, caller: Participant, services: InjectedServices, request: Request
) -> dict[str, Any]:
    """Add or replace a file or the files of a .zip archive, or delete the file that the field `delete_file` names."""
    agent, message = await receive_file(request, services, caller.user_id, cid, sid)
    # An agent that is active keeps its status; the client asks whether its files can be deployed.
    status = AgentStatus.UPLOAD_VALIDATED if agent.files_ok else AgentStatus.UPLOAD_FAILED
    block = await run_in_threadpool(_status_now, services, agent, caller.user_id)
    return {"message": message, "validation_message": agent.files_message, **block, "status": status}


@router.get("/challenge/{cid}/{sid}/file")
def list_files(cid: Id, sid: Id, caller: User, services: InjectedServices) -> dict[str, Any]:
    """List the files, without their content. The file that is run comes first, then reports, then the others."""
    with services.database.transaction(read_only=True) as session:
        files = agent_files(session, _readable(session, cid, sid, caller.user_id).id)
        rows = [_file_row(file, services) for file in files]
    order = ("entry", "report", "other")
    return {"files": sorted(rows, key=lambda row: (order.index(row["role"]), row["name"]))}


@router.get("/challenge/{cid}/{sid}/file/{filename:path}/content")
def file_content(cid: Id, sid: Id, filename: str, caller: User, services: InjectedServices) -> dict[str, Any]:
    """Get the content of a text file."""
    found = _find_file(services, cid, sid, filename, caller.user_id)
    text = _text(found, services)
    if text is None:
        raise RefusedError(f"{found.name} is no text of up to {_TEXT_BYTES} bytes: download it")
    return {"filename": found.name, "content": text}


@router.get("/challenge/{cid}/{sid}/file/{filename:path}", response_class=FileResponse)
def download_file(cid: Id, sid: Id, filename: str, caller: User, services: InjectedServices) -> FileResponse:
    """Get the bytes of a file."""
    found = _find_file(services, cid, sid, filename, caller.user_id)
    headers = {"X-Content-Type-Options": "nosniff"}
    return FileResponse(
        services.blobs.path(found.sha256),
        media_type="application/octet-stream",
        filename=found.name.rpartition("/")[2],
        headers=headers,
    )


@router.put("/challenge/{cid}/{sid}/deploy", status_code=202, response_model=dict[str, Any])
def deploy(cid: Id, sid: Id, caller: Participant, services: InjectedServices) -> Any:
    """Queue an evaluation. A refusal is a 409 that has the limits of the owner."""
    try:
        with services.database.transaction(by=caller.user_id) as session:
            agent = own_agent(session, sid, caller.user_id, cid)
            queued = service.deploy(session, agent, services)
            return {"message": "waiting for a worker", "deployment_id": queued.id, **status_block(agent)}
    except NotFoundError:
        raise
    except ArenaError as refusal:
        with services.database.transaction(read_only=True) as session:
            limits = _limits(session, own_agent(session, sid, caller.user_id, cid), services)
        return JSONResponse({"error": str(refusal), **limits}, 409)


@router.get("/challenge/{cid}/{sid}/deploy")
def deploy_status(cid: Id, sid: Id, caller: Participant, services: InjectedServices) -> dict[str, Any]:
    """Get the limits of the owner: evaluations in 24 hours, and submissions that are active at a time."""
    with services.database.transaction(read_only=True) as session:
        return _limits(session, own_agent(session, sid, caller.user_id, cid), services)


@router.delete("/challenge/{cid}/{sid}")
def delete(cid: Id, sid: Id, caller: Participant, services: InjectedServices) -> dict[str, Any]:
    """Delete a submission."""
    with services.database.transaction(by=caller.user_id) as session:
        agent = own_agent(session, sid, caller.user_id, cid)
        service.delete(session, agent, caller.user_id)
        return {"message": "the submission was deleted", "submission_id": sid, **status_block(agent)}


@router.put("/agent_runtime/{sid}")
def set_runtime(sid: Id, choice: RuntimeChoice, caller: Participant, services: InjectedServices) -> dict[str, Any]:
    """Set the runtime of a submission."""
    parse_ahead(services, caller.user_id, sid)
    with services.database.transaction(by=caller.user_id) as session:
        agent = own_agent(session, sid, caller.user_id)
        chosen = service.set_runtime(session, agent, choice.docker_image_agent_runtime_id, services.sources)
        record(session, caller.user_id, "agent.runtime", f"{sid} {chosen.id}", agent.competition_id)
        return runtime_row(chosen) or {}


@router.get("/copyable_submissions")
def copyable(caller: User, services: InjectedServices) -> dict[str, Any]:
    """List the caller's submissions that a new one can be copied from."""
    with services.database.transaction(read_only=True) as session:
        rows = [
            {
                "id": agent.id,
                "submission_name": agent.name,
                "challenge_id": agent.competition_id,
                "challenge_name": agent.competition.name,
                **_status(session, agent, caller.user_id),
            }
            for agent in _own_agents(session, caller.user_id)
        ]
    return {"submissions": rows}


@router.get("/mine")
def mine(caller: User, services: InjectedServices, request: Request) -> dict[str, Any]:
    """List the caller's submissions to all challenges, newest first."""
    boards: Boards = request.app.state.boards
    with services.database.transaction(read_only=True) as session:
        agents = _own_agents(session, caller.user_id)
        ranks: dict[int, int] = {}
        for competition in {agent.competition_id: agent.competition for agent in agents}.values():
            board = open_board(session, boards, competition, caller.user_id)
            ranks |= {place.entry.agent_id: place.rank for place in board.places if board.is_mine(place.entry)}
        daily = services.settings.daily_deploys
        limits = service.deploy_limits(session, agents[0], daily) if agents else _unused(daily)
        rows = [
            {
                "id": agent.id,
                "submission_name": agent.name,
                "challenge_id": agent.competition_id,
                "challenge_name": agent.competition.name,
                "rank": ranks.get(agent.id),
                "created_at_ts": iso(agent.created_at),
                "challenge_start_date_ts": iso(agent.competition.started_at),
                "last_end_run_ts": iso(agent.scored_at),
                **_status(session, agent, caller.user_id),
            }
            for agent in agents
        ]
    started = sum(agent.competition.is_started for agent in agents)
    return {"submissions": rows, "started_submissions_count": started, "deployment_limits": _limits_row(limits)}


@router.get("/submission/{sid}")
def submission(sid: Id, caller: User, services: InjectedServices, request: Request) -> dict[str, Any]:
    """Get a submission, for its owner, teammates, the staff of its challenge, teachers, or everybody if published."""
    with services.database.transaction(read_only=True) as session:
        agent, role = readable_agent(session, sid, caller.user_id)
        return submission_page(session, agent, role, request.app.state.boards, caller.user_id)


@router.patch("/submission/{sid}")
def update(
    sid: Id, wanted: SubmissionChange, caller: Participant, services: InjectedServices, request: Request
) -> dict[str, Any]:
    """Rename a submission, publish it, or take it back."""
    if wanted.submission_name is None and wanted.is_public is None:
        raise RefusedError("send submission_name or is_public")
    with services.database.transaction(by=caller.user_id) as session:
        agent = own_agent(session, sid, caller.user_id)
        if wanted.submission_name is not None:
            agent.name = wanted.submission_name
        if wanted.is_public is not None:
            agent.is_public = wanted.is_public
        agent.changed_at = time.time()
        changed = " ".join(sorted(wanted.model_fields_set))
        record(session, caller.user_id, "agent.update", f"{sid} {changed}", agent.competition_id)
        session.flush()
        return submission_page(session, agent, ViewerRole.OWNER, request.app.state.boards, caller.user_id)


@router.get("/submission/{sid}/runs")
def runs(
    sid: Id,
    caller: User,
    services: InjectedServices,
    deploy_id: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    is_test: bool | None = None,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> dict[str, Any]:
    """List the runs of a submission, newest first. Runs are kept as long as the service: there is no retention."""
    with services.database.transaction(read_only=True) as session:
        agent, role = readable_agent(session, sid, caller.user_id)
        # An attempt has succeeded before its finals begin, so final runs are shown when they are done.
        shown = sa.or_(Run.kind != RunKind.FINAL, Run.finished_at.is_not(None))
        is_held = holds_results(session, agent.competition, caller.user_id)
        earned = Run.kind.in_((RunKind.EXTENDED, RunKind.FINAL))  # how many there are tells of the reward
        shown = sa.and_(shown, sa.not_(earned)) if is_held else shown
        query = sa.select(Run).join(Deploy).where(Deploy.agent_id == agent.id, shown).options(joinedload(Run.deploy))
        if deploy_id is not None:
            attempt = session.get(Deploy, deploy_id)
            if attempt is None or attempt.agent_id != agent.id:
                raise NotFoundError("the submission has no such deploy attempt")
            query = query.where(Run.deploy_id == deploy_id)
        if is_test is not None:
            query = query.where((Run.kind == RunKind.CONSTRAINT) == is_test)
        total = session.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0
        page = session.scalars(query.order_by(Run.id.desc()).offset(offset).limit(limit))
        return {
            "runs": run_rows(list(page), services, role is not ViewerRole.PUBLIC, role is ViewerRole.STAFF, is_held),
            "total": total,
            "retention_days": None,
            "challenge_context": challenge_context(agent.competition),
        }


@router.get("/submission/{sid}/deploys")
def deploys(sid: Id, caller: User, services: InjectedServices) -> dict[str, Any]:
    """List the evaluations of a submission, newest first."""
    with services.database.transaction(read_only=True) as session:
        agent, role = readable_agent(session, sid, caller.user_id)
        found = session.scalars(sa.select(Deploy).where(Deploy.agent_id == agent.id).order_by(Deploy.id.desc()))
        return {"deploys": [deploy_row(one, role is not ViewerRole.PUBLIC) for one in found]}


def submission_page(session: Session, agent: Agent, role: ViewerRole, boards: Boards, reader_id: int) -> dict[str, Any]:
    """Get a submission as a reader sees it.

    Args:
        session: A transaction.
        agent: The submission.
        role: What the reader is to it. A public reader gets no message, because messages quote the agent's output.
        boards: The cache of ranked agents.
        reader_id: The reader.
    """
    is_close = role is not ViewerRole.PUBLIC
    is_held = holds_results(session, agent.competition, reader_id)
    last = latest_deploy(session, agent.id)
    runtime = session.get(RuntimeTable, agent.runtime_id) if agent.runtime_id is not None else None
    return {
        "id": agent.id,
        "challenge_id": agent.competition_id,
        "submission_name": agent.name,
        "created_at_ts": iso(agent.created_at),
        "is_public": agent.is_public,
        **status_block(agent, with_message=is_close, is_held=is_held),
        "owner": owner_block(agent.user),
        "team": team_block(team_of(session, agent.competition_id, agent.user_id)),
        "viewer_role": role,
        "agent_runtime": runtime_row(runtime),
        "latest_deploy": None if last is None else deploy_row(last, is_close),
        "queue_info": _queue_info(session, last),
        **_figures(session, agent, boards, reader_id),
        "latest_run_failure": _latest_failure(session, agent, is_close),
    }


def _status(session: Session, agent: Agent, reader_id: int) -> dict[str, Any]:
    return status_block(agent, is_held=holds_results(session, agent.competition, reader_id))


def _status_now(services: Services, agent: Agent, reader_id: int) -> dict[str, Any]:
    with services.database.transaction(read_only=True) as session:
        return _status(session, agent, reader_id)


def _queue_info(session: Session, last: Deploy | None) -> dict[str, Any]:
    if last is None or last.status != DeployStatus.QUEUED or last.is_final:
        return dict.fromkeys(("queue_position", "queue_total", "created_at_ts", "in_queue_for_second"))
    waiting = sa.select(sa.func.count()).where(Deploy.status == DeployStatus.QUEUED, Deploy.is_final.is_(False))
    return {
        "queue_position": position_in_queue(session, last),
        "queue_total": session.scalar(waiting.select_from(Deploy)),
        "created_at_ts": iso(last.created_at),
        "in_queue_for_second": round(time.time() - last.created_at, 1),
    }


def _figures(session: Session, agent: Agent, boards: Boards, reader_id: int) -> dict[str, Any]:
    """Get the figures of the submission's line on the leaderboard; None for each if it has none."""
    if agent.status != AgentStatus.ACTIVE:
        return dict(_NEVER_GRADED)
    board = open_board(session, boards, agent.competition, reader_id, by_participant=False)
    place = board.place_of(agent.id)
    return dict(_NEVER_GRADED) if place is None else figures(place.entry, board.metrics, board.windows)


def _latest_failure(session: Session, agent: Agent, is_close: bool) -> dict[str, Any] | None:
    """Get the newest run that counts, if it failed."""
    query = sa.select(Run).join(Deploy).where(Deploy.agent_id == agent.id, Run.finished_at.is_not(None))
    newest = session.scalars(query.where(Run.kind != RunKind.CONSTRAINT).order_by(Run.id.desc()).limit(1)).first()
    return failure_row(newest, is_close) if newest is not None and newest.status == RunStatus.ERROR else None


def _limits(session: Session, agent: Agent, services: Services) -> dict[str, Any]:
    most = settings_of(agent.competition).max_active_agents_per_participant
    counted = (AgentStatus.ACTIVE, AgentStatus.DEPLOY_QUEUE, AgentStatus.DEPLOY_RUN)
    used = count_on_board(session, agent) + (agent.status in counted)
    return {
        "deployment_limits": _limits_row(service.deploy_limits(session, agent, services.settings.daily_deploys)),
        "active_submission_limits": {
            "max_active_submissions": most,
            "active_submissions_count": used,
            "active_submissions_remaining": max(0, most - used),
        },
    }


def _limits_row(limits: dict[str, Any]) -> dict[str, Any]:
    return limits | {"next_deploy_available_at": iso(limits["next_deploy_available_at"])}


def _unused(daily: int) -> dict[str, Any]:
    """Get the limits of somebody without submissions."""
    left = {"daily_deploy_limit": daily, "daily_deploys_used": 0, "daily_deploys_remaining": daily}
    return left | {"next_deploy_available_at": None, "can_deploy": False}


def _own_agents(session: Session, user_id: int) -> list[Agent]:
    query = sa.select(Agent).where(
        Agent.user_id == user_id, Agent.is_benchmark.is_(False), Agent.status != AgentStatus.DELETED
    )
    found = session.scalars(query.options(joinedload(Agent.competition)).order_by(Agent.id.desc()))
    return [agent for agent in found if can_see(session, agent.competition, user_id)]


def _readable(session: Session, cid: int, sid: int, user_id: int) -> Agent:
    agent, _ = readable_agent(session, sid, user_id)
    if agent.competition_id != cid:
        raise NotFoundError("the challenge has no such submission")
    return agent


def _find_file(services: Services, cid: int, sid: int, filename: str, user_id: int) -> AgentFile:
    name = file_path(filename)
    with services.database.transaction(read_only=True) as session:
        files = agent_files(session, _readable(session, cid, sid, user_id).id)
    found = next((file for file in files if file.name == name), None)
    if found is None:
        raise NotFoundError("there is no such file")
    return found


def _file_row(file: AgentFile, services: Services) -> dict[str, Any]:
    suffix = f".{file.name.rpartition('.')[2].lower()}"
    if file.name == "agent.py":
        role = "entry"
    elif file.name.lower() == "readme.md" or suffix == ".pdf":
        role = "report"
    else:
        role = "other"
    is_text = suffix != ".pdf" and _text(file, services) is not None
    language = _LANGUAGES.get(suffix, "plaintext") if is_text else None
    return {"name": file.name, "size": file.size, "role": role, "language": language}


def _text(file: AgentFile, services: Services) -> str | None:
    """Get the content of a text file; None for other files."""
    if file.size > _TEXT_BYTES:
        return None
    try:
        return services.blobs.get(file.sha256).decode()
    except UnicodeDecodeError:
        return None
