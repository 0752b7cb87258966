"""HTTP endpoints for what organisers do while a challenge runs: benchmark, runs, submissions, assistants, datasets."""

from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Path, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session, joinedload

from ml_trainer_env.arena import assistants as assistants_service
from ml_trainer_env.arena.access import Creator, InjectedServices
from ml_trainer_env.arena.assistants import Username
from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.challenges.board import open_board
from ml_trainer_env.arena.challenges.catalogue import dataset_rows
from ml_trainer_env.arena.challenges.runs import run_rows
from ml_trainer_env.arena.challenges.values import iso, status_block
from ml_trainer_env.arena.competitions.repository import competition_files, own_competition
from ml_trainer_env.arena.competitions.service import benchmark_agent, settings_of
from ml_trainer_env.arena.errors import ForbiddenError, NotFoundError, RefusedError
from ml_trainer_env.arena.files.uploads import read_form, uploaded_file
from ml_trainer_env.arena.organisers import service as organisers
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions.benchmark import run_benchmark
from ml_trainer_env.arena.submissions.repository import latest_deploy
from ml_trainer_env.arena.tables import (
    Agent,
    AgentStatus,
    Blame,
    Competition,
    CompetitionAssistant,
    Dataset,
    DatasetFile,
    Deploy,
    DeployStatus,
    FilePurpose,
    Run,
    RunKind,
)

__all__ = ["older", "router"]

router = APIRouter(prefix="/api/creator_challenge/challenge/{cid}", tags=["creators"])
older = APIRouter(prefix="/api/creator_competition/competition/{cid}", tags=["creators"])
"""Routes of the same functions in mlarena-sdk 1.0.0."""

Id = Annotated[int, Path(ge=1, le=2**31 - 1)]

MAX_RUNS = 30
MAX_DATASETS = 50
MAX_DATASET_FILES = 200
_MEMORY_BYTES = 4 * 2**30
_WARN_RATIO = 0.8
_DEPLOYED = (AgentStatus.ACTIVE, AgentStatus.DEPLOY_FAILED, AgentStatus.DEPLOY_QUEUE, AgentStatus.DEPLOY_RUN)
_JOB_STATUSES = {
    DeployStatus.QUEUED: "pending",
    DeployStatus.RUNNING: "running",
    DeployStatus.SUCCEEDED: "completed",
    DeployStatus.CANCELLED: "cancelled",
}


class NewDataset(BaseModel):
    """A new dataset."""

    model_config = ConfigDict(extra="ignore")

    label: str = Field(min_length=1, max_length=200)
    description: str = Field(default="", max_length=20_000)


class DatasetChange(BaseModel):
    """A new label or a new description."""

    model_config = ConfigDict(extra="ignore")

    label: str | None = Field(default=None, min_length=1, max_length=200)
    description: str | None = Field(default=None, max_length=20_000)


@router.post("/benchmark/run")
def start_benchmark(cid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Queue an evaluation of the benchmark agent."""
    with services.database.transaction(read_only=True) as session:
        own_competition(session, cid, caller.user_id)
        files = competition_files(session, cid, FilePurpose.BENCHMARK)
    services.sources.parse_ahead((file.name, file.sha256, file.size) for file in files)
    with services.database.transaction(by=caller.user_id) as session:
        own = own_competition(session, cid, caller.user_id)
        run_benchmark(session, own, services)
        return _benchmark_run(session, own) or {}


@router.get("/benchmark/status")
def benchmark_status(cid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Get the last evaluation of the benchmark agent, and how near it came to the limits of the challenge."""
    with services.database.transaction(read_only=True) as session:
        own = own_competition(session, cid, caller.user_id)
        run = _benchmark_run(session, own)
        is_scored = run is not None and run["submission_results"][0]["score"] is not None
        return {"run": run, "checks": _checks(session, own) if is_scored else []}


@router.get("/runs")
def runs(cid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """List the last runs of a challenge, newest first, with the errors of its environment."""
    query = (
        sa.select(Run)
        .join(Deploy)
        .join(Agent)
        .where(Agent.competition_id == cid, Run.finished_at.is_not(None))
        .options(joinedload(Run.deploy).joinedload(Deploy.agent))
        .order_by(Run.finished_at.desc(), Run.id.desc())
        .limit(MAX_RUNS)
    )
    with services.database.transaction(read_only=True) as session:
        own_competition(session, cid, caller.user_id)
        rows = run_rows(list(session.scalars(query)), services, True, True)
    return {"runs": rows, "limit": MAX_RUNS}


@router.get("/submissions")
def submissions(cid: Id, caller: Creator, services: InjectedServices, request: Request) -> dict[str, Any]:
    """List all submissions to a challenge, newest first."""
    with services.database.transaction(read_only=True) as session:
        own = own_competition(session, cid, caller.user_id)
        settings = settings_of(own)
        board = open_board(session, request.app.state.boards, own, caller.user_id)
        everyone = open_board(session, request.app.state.boards, own, caller.user_id, by_participant=False)
        ranks = {place.entry.agent_id: place.rank for place in board.places}
        figures = {place.entry.agent_id: everyone.row(place) for place in everyone.places}
        rows = []
        for agent in session.scalars(organisers.submissions_query(cid)):
            found = figures.get(agent.id)
            rows.append(
                {
                    "submission_id": agent.id,
                    "submission_name": agent.name,
                    "user_id": agent.user_id,
                    "username": agent.user.name,
                    "created_at_ts": iso(agent.created_at),
                    "last_end_run_ts": iso(agent.scored_at),
                    "score": found["score"] if found else None,
                    "metrics": found["metrics"] if found else None,
                    "number_of_runs": len(agent.rewards) + len(agent.final_rewards),
                    "rank": ranks.get(agent.id),
                    "is_benchmark": agent.is_baseline,
                    "restart_allowed": agent.files_ok or agent.status in _DEPLOYED,
                    **status_block(agent),
                }
            )
    return {"submissions": rows, "metrics": [metric.model_dump() for metric in settings.shown_metrics]}


@router.post("/submissions/clean_redeploy_all")
def rerun_all(cid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Run every submission again that was ever evaluated. One that is refused does not keep the others."""
    found = organisers.rerun_all(services, cid, caller.user_id)
    failed = [{"submission_id": sid, "error": reason} for sid, reason in found.refused.items()]
    total = len(found.done) + len(failed)
    return {"total": total, "redeployed": [_rerun_row(one) for one in found.done], "failed": failed}


@router.post("/submissions/{sid}/clean_redeploy")
def rerun(cid: Id, sid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Run a submission again, in whatever state it is. Its results until now no longer count."""
    return _rerun_row(organisers.rerun(services, cid, sid, caller.user_id))


@router.delete("/submissions/{sid}")
def delete_submission(cid: Id, sid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Delete a submission of a participant."""
    return {"submission_id": sid, **status_block(organisers.delete(services, cid, sid, caller.user_id))}


@router.get("/assistants")
def assistants(cid: Id, caller: Creator, services: InjectedServices) -> list[dict[str, Any]]:
    """List the assistants of a challenge."""
    with services.database.transaction(read_only=True) as session:
        own_competition(session, cid, caller.user_id)
        return [
            {"user_id": found.user_id, "username": name, "created_at_ts": iso(found.created_at)}
            for found, name in assistants_service.assistants_of(session, CompetitionAssistant, cid)
        ]


@router.post("/assistants", status_code=201)
def add_assistant(cid: Id, wanted: Username, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Give a user the creator's rights on a challenge. For the owner only."""
    with services.database.transaction(by=caller.user_id) as session:
        own = _owned(session, cid, caller.user_id)
        user = assistants_service.add(session, CompetitionAssistant, cid, own.creator_id, wanted.username)
        record(session, caller.user_id, "competition.assistant", f"{cid} {user.name}", cid)
        return {"message": f"{user.name} may edit the challenge", "user_id": user.id, "username": user.name}


@router.delete("/assistants/{user_id}")
def remove_assistant(cid: Id, user_id: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Take the creator's rights back. For the owner only."""
    with services.database.transaction(by=caller.user_id) as session:
        _owned(session, cid, caller.user_id)
        assistants_service.remove(session, CompetitionAssistant, cid, user_id)
        record(session, caller.user_id, "competition.assistant.delete", f"{cid} {user_id}", cid)
    return {"message": "the assistant was removed"}


@router.get("/datasets")
@older.get("/datasets")
def datasets(cid: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """List the datasets of a challenge with signed URLs of their files."""
    with services.database.transaction(read_only=True) as session:
        own_competition(session, cid, caller.user_id)
        return {"datasets": dataset_rows(session, cid, services)}


@router.post("/datasets", status_code=201)
@older.post("/datasets", status_code=201)
def create_dataset(cid: Id, wanted: NewDataset, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Create a dataset."""
    with services.database.transaction(by=caller.user_id) as session:
        _editable(session, cid, caller.user_id)
        count = sa.select(sa.func.count()).select_from(Dataset).where(Dataset.competition_id == cid)
        if (session.scalar(count) or 0) >= MAX_DATASETS:
            raise RefusedError(f"a challenge may have {MAX_DATASETS} datasets")
        made = Dataset(competition_id=cid, label=wanted.label, description=wanted.description)
        session.add(made)
        session.flush()
        record(session, caller.user_id, "dataset.create", f"{cid} {made.id}", cid)
        return _dataset_row(made)


@router.put("/datasets/{dataset_id}")
@older.put("/datasets/{dataset_id}")
def update_dataset(
    cid: Id, dataset_id: Id, wanted: DatasetChange, caller: Creator, services: InjectedServices
) -> dict[str, Any]:
    """Change the label or the description of a dataset."""
    with services.database.transaction(by=caller.user_id) as session:
        found = _dataset(session, cid, dataset_id, caller.user_id)
        found.label = wanted.label or found.label
        found.description = found.description if wanted.description is None else wanted.description
        record(session, caller.user_id, "dataset.update", f"{cid} {dataset_id}", cid)
        return _dataset_row(found)


@router.delete("/datasets/{dataset_id}")
def delete_dataset(cid: Id, dataset_id: Id, caller: Creator, services: InjectedServices) -> dict[str, Any]:
    """Delete a dataset with its files."""
    with services.database.transaction(by=caller.user_id) as session:
        session.delete(_dataset(session, cid, dataset_id, caller.user_id))
        record(session, caller.user_id, "dataset.delete", f"{cid} {dataset_id}", cid)
    return {"message": "the dataset was deleted"}


@router.post("/datasets/{dataset_id}/files", status_code=201)
@older.post("/datasets/{dataset_id}/files", status_code=201)
async def add_dataset_file(
    cid: Id, dataset_id: Id, caller: Creator, services: InjectedServices, request: Request
) -> dict[str, Any]:
    """Add a file to a dataset."""
    await run_in_threadpool(_check_dataset, services, cid, dataset_id, caller.user_id)
    async with services.upload_locks.of(caller.user_id):
        form = await read_form(request, services.settings.max_upload_bytes)
        try:
            return await run_in_threadpool(_add_file, services, cid, dataset_id, caller.user_id, form)
        finally:
            await form.close()


@router.delete("/datasets/{dataset_id}/files/{file_id}")
@older.delete("/datasets/{dataset_id}/files/{file_id}")
def delete_dataset_file(
    cid: Id, dataset_id: Id, file_id: Id, caller: Creator, services: InjectedServices
) -> dict[str, Any]:
    """Delete a file of a dataset."""
    with services.database.transaction(by=caller.user_id) as session:
        found = _dataset(session, cid, dataset_id, caller.user_id)
        file = next((file for file in found.files if file.id == file_id), None)
        if file is None:
            raise NotFoundError("the dataset has no such file")
        session.delete(file)
        record(session, caller.user_id, "dataset.file.delete", f"{cid} {file.label}", cid)
    return {"message": f"{file.label} was deleted"}


def _rerun_row(done: organisers.Rerun) -> dict[str, Any]:
    row = {"submission_id": done.agent.id, "deleted_results": done.dropped, "deployment_id": done.deploy_id}
    return row | status_block(done.agent)


def _owned(session: Session, cid: int, user_id: int) -> Competition:
    """Get a challenge of its owner. An assistant is refused."""
    own = own_competition(session, cid, user_id)
    if own.creator_id != user_id:
        raise ForbiddenError("only the owner of a challenge may change its assistants")
    return own


def _editable(session: Session, cid: int, user_id: int) -> Competition:
    """Get a challenge that the user may edit and that has not started."""
    own = own_competition(session, cid, user_id)
    if own.is_started:
        raise RefusedError("the competition has started: its datasets can no longer be changed")
    return own


def _dataset(session: Session, cid: int, dataset_id: int, user_id: int) -> Dataset:
    _editable(session, cid, user_id)
    found = session.get(Dataset, dataset_id)
    if found is None or found.competition_id != cid:
        raise NotFoundError("the challenge has no such dataset")
    return found


def _dataset_row(dataset: Dataset) -> dict[str, Any]:
    return {"id": dataset.id, "label": dataset.label, "description": dataset.description}


def _check_dataset(services: Services, cid: int, dataset_id: int, user_id: int) -> None:
    with services.database.transaction(read_only=True) as session:
        if len(_dataset(session, cid, dataset_id, user_id).files) >= MAX_DATASET_FILES:
            raise RefusedError(f"a dataset may have {MAX_DATASET_FILES} files")


def _add_file(services: Services, cid: int, dataset_id: int, user_id: int, form: Any) -> dict[str, Any]:
    name, file = uploaded_file(form)
    sha256, size = services.store_upload(user_id, file.file, file.size or 0)
    with services.database.transaction(by=user_id) as session:
        found = _dataset(session, cid, dataset_id, user_id)
        made = DatasetFile(dataset_id=found.id, label=name, sha256=sha256, size=size)
        session.add(made)
        session.flush()
        record(session, user_id, "dataset.file", f"{cid} {name} {sha256}", cid)
        return {"id": made.id, "label": name, "file_size_bytes": size}


def _benchmark_run(session: Session, competition: Competition) -> dict[str, Any] | None:
    """Get the last evaluation of the benchmark agent as one run; None without one."""
    agent = benchmark_agent(session, competition.id)
    last = latest_deploy(session, agent.id) if agent else None
    if agent is None or last is None:
        return None
    failed = last.status == DeployStatus.FAILED
    of_platform, of_env = (failed and last.failure_owner == owner for owner in (Blame.PLATFORM, Blame.CHALLENGE))
    of_agent = failed and not of_platform and not of_env
    error_type = next((run.error_type for run in last.runs if run.error_type), None)
    is_scored = agent.status == AgentStatus.ACTIVE and agent.scored_deploy_id == last.id
    status = "completed" if failed and not of_platform else _JOB_STATUSES.get(DeployStatus(last.status), "failed")
    return {
        "simulation_result_id": last.id,
        "submission_deploy_id": last.id,
        "job_status": status,
        "job_error_type": "lost" if of_platform else None,
        "created_at_ts": iso(last.created_at),
        "simulate_end_time_ts": iso(last.finished_at),
        "is_test": True,
        "env_error_type": error_type if of_env else None,
        "env_error_message": last.failure_message if of_env else None,
        "env_stdout_logs": None,
        "replay": None,
        "submission_results": [
            {
                "submission_id": agent.id,
                "submission_name": agent.name,
                "user_name": agent.user.name,
                "submission_status": agent.status,
                "score": agent.mean_reward if is_scored else None,
                "score_ci95": agent.reward_ci95 if is_scored else None,
                "n_episodes": len(agent.rewards) if is_scored else None,
                "metrics": {},
                "agent_error_type": error_type if of_agent else None,
                "agent_error_message": last.failure_message if of_agent else None,
            }
        ],
    }


def _checks(session: Session, competition: Competition) -> list[dict[str, Any]]:
    """Compare the scored benchmark with the limits of the challenge."""
    agent, settings = benchmark_agent(session, competition.id), settings_of(competition)
    last = latest_deploy(session, agent.id) if agent else None
    if agent is None or last is None:
        return []
    counted = sum(run.kind in (RunKind.SCORE, RunKind.EXTENDED) for run in last.runs)
    return [
        _check("simulation_timeout_sec", "duration of a run (s)", settings.simulation_timeout_sec, agent.max_run_s),
        _check("agent_memory_limit", "memory of the agent (bytes)", _MEMORY_BYTES, agent.max_ram_bytes),
        _check(
            "deployment_nb_initial_score_run",
            "runs that count",
            max(counted, settings.evaluation_deployment_nb_initial_score_run),
            counted,
            is_bound=False,
        ),
    ]


def _check(key: str, label: str, configured: float, measured: float | None, is_bound: bool = True) -> dict[str, Any]:
    ratio = None if measured is None else measured / configured
    if ratio is None:
        status = "unmeasured"
    elif ratio > 1:
        status = "fail"
    else:
        status = "warn" if is_bound and ratio > _WARN_RATIO else "ok"
    message = f"{label}: {measured} of {configured}"
    row = {"key": key, "label": label, "configured": configured, "measured": measured}
    return row | {"ratio": ratio, "status": status, "message": message}
