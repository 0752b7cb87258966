"""The page of a submission: its status and runs, and for its owner other files, deployment, cancellation, deletion."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from ml_trainer_env.arena.access import InjectedServices
from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.competitions.schemas import CompetitionSettings
from ml_trainer_env.arena.competitions.service import describe, holds_results, settings_of
from ml_trainer_env.arena.errors import ArenaError, NotFoundError, RefusedError
from ml_trainer_env.arena.files.uploads import read_form
from ml_trainer_env.arena.pages.rendering import HEADERS, cacheable_part, render_page, require_same_site
from ml_trainer_env.arena.pages.signin import signed_in
from ml_trainer_env.arena.pages.submitting import store_fields
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.submissions.repository import agent_files, finished_runs, own_agent
from ml_trainer_env.arena.tables import Agent, Run, RunKind, Scope
from ml_trainer_env.arena.tokens.service import Caller, require

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

Id = Annotated[int, Path(ge=1, le=2**31 - 1)]

LOG_SHOWN = 20_000
SHOWN_RUNS = 50


@router.get("/submissions/{aid}", response_class=HTMLResponse)
def submission(aid: Id, request: Request, services: InjectedServices) -> HTMLResponse:
    """Show a submission to its owner: its status, its files, its runs and their logs."""
    return _page("submission.html", aid, request, services)


@router.get("/submissions/{aid}/progress", response_class=HTMLResponse)
def live_progress(aid: Id, request: Request, services: InjectedServices) -> Response:
    """Get the status and the runs of a submission as a fragment, for live updates of the page."""
    return cacheable_part(request, _page("progress.html", aid, request, services))


@router.post("/submissions/{aid}/files")
async def replace_files(aid: Id, request: Request, services: InjectedServices) -> Response:
    """Add or replace files of a submission, and evaluate it if that is asked. Nothing is changed if one is refused."""
    require_same_site(request, services)
    caller, settings = await run_in_threadpool(_admit, aid, request, services)
    request.app.state.rates.take(caller.lookup)
    try:
        async with services.upload_locks.of(caller.user_id):
            fields = await read_form(request, settings.max_upload_size_bytes, settings.max_upload_files + 2)
            try:
                await run_in_threadpool(_replace, aid, caller, settings, services, fields)
            finally:
                await fields.close()
    except NotFoundError:
        raise
    except ArenaError as error:
        return await run_in_threadpool(_page, "submission.html", aid, request, services, str(error), error.status)
    return RedirectResponse(f"/submissions/{aid}", 303, HEADERS)


@router.post("/submissions/{aid}")
def act(
    aid: Id, request: Request, services: InjectedServices, action: Annotated[str, Form(max_length=20)] = ""
) -> Response:
    """Evaluate a submission, cancel its evaluation, or delete it."""
    require_same_site(request, services)
    caller, _ = _admit(aid, request, services)
    request.app.state.rates.take(caller.lookup)
    try:
        with services.database.transaction(by=caller.user_id) as session:
            agent = own_agent(session, aid, caller.user_id)
            _act(session, agent, services, action)
    except NotFoundError:
        raise
    except ArenaError as error:
        return _page("submission.html", aid, request, services, str(error), error.status)
    target = f"/competitions/{agent.competition_id}" if action == "delete" else f"/submissions/{aid}"
    return RedirectResponse(target, 303, HEADERS)


def _act(session: Session, agent: Agent, services: Services, action: str) -> None:
    match action:
        case "deploy":
            service.deploy(session, agent, services)
        case "cancel":
            service.cancel(session, agent, agent.user_id)
        case "delete":
            service.delete(session, agent, agent.user_id)
        case _:
            raise RefusedError("action should be deploy, cancel or delete")


def _admit(aid: int, request: Request, services: Services) -> tuple[Caller, CompetitionSettings]:
    """Find out who changes a submission, before anything of the body is read.

    Raises:
        NotFoundError: Nobody is signed in, or the submission is not the user's.
        ForbiddenError: The token has another scope.
    """
    with services.database.transaction(read_only=True) as session:
        caller = signed_in(request, services, session)
        if caller is None:
            raise NotFoundError("sign in to change a submission of yours")
        agent = own_agent(session, aid, caller.user_id)
        require(caller, Scope.USER)
        return caller, settings_of(agent.competition)


def _replace(aid: int, caller: Caller, settings: CompetitionSettings, services: Services, fields: FormData) -> None:
    files = store_fields(services, caller, settings, fields)
    with services.database.transaction(by=caller.user_id) as session:
        agent = own_agent(session, aid, caller.user_id)
        service.keep_files(session, agent, files, services.sources, only=fields.get("only") == "true")
        for path, (sha256, _) in files.items():
            record(session, caller.user_id, "agent.file", f"{aid} {path} {sha256}", agent.competition_id)
        if fields.get("deploy") == "true":
            service.deploy(session, agent, services)


def _page(
    template: str, aid: int, request: Request, services: Services, error: str = "", status_code: int = 200
) -> HTMLResponse:
    with services.database.transaction(read_only=True) as session:
        caller = signed_in(request, services, session)
        if caller is None:
            raise NotFoundError("sign in to see a submission of yours")
        agent = own_agent(session, aid, caller.user_id)
        is_held = holds_results(session, agent.competition, caller.user_id)
        runs = service.visible_runs(finished_runs(session, agent.id, SHOWN_RUNS), is_held)
        return render_page(
            template,
            caller,
            status_code,
            agent=service.status(session, agent, caller.user_id),
            files=agent_files(session, agent.id),
            files_message=agent.files_message,
            competition=describe(agent.competition),
            runs=[_run(run, services, is_held) for run in runs],
            is_held=is_held,
            error=error,
        )


def _run(run: Run, services: Services, is_held: bool) -> dict[str, Any]:
    log = services.blobs.get(run.log_sha256).decode(errors="replace")[-LOG_SHOWN:] if run.log_sha256 else ""
    return {
        "id": run.id,
        "number": run.number + 1,
        "kind": run.kind,
        "reward": service.visible_reward(run, is_held),
        "wall_s": run.wall_s or 0.0,
        "ram_mb": (run.peak_ram_bytes or 0) / 2**20,
        "is_withheld": run.kind == RunKind.FINAL,
        "error_type": run.error_type,
        "error_message": run.error_message,
        "finished_at": run.finished_at,
        "log": log,
    }
