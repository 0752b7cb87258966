"""The page on which people submit: a form for files, a folder or an archive, and what is left of their quota."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from ml_trainer_env.arena.access import InjectedServices
from ml_trainer_env.arena.competitions.repository import visible_competition
from ml_trainer_env.arena.competitions.schemas import CompetitionSettings
from ml_trainer_env.arena.competitions.service import settings_of
from ml_trainer_env.arena.errors import ArenaError, NotFoundError, RefusedError, UnauthorizedError
from ml_trainer_env.arena.files.archives import lay_out
from ml_trainer_env.arena.files.names import require_distinct
from ml_trainer_env.arena.files.uploads import read_form
from ml_trainer_env.arena.pages.boards import page_head
from ml_trainer_env.arena.pages.rendering import HEADERS, render_page, require_same_site
from ml_trainer_env.arena.pages.signin import signed_in
from ml_trainer_env.arena.runtimes import runtimes
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.submissions.files import store_files
from ml_trainer_env.arena.submissions.schemas import NewAgent
from ml_trainer_env.arena.tables import Scope
from ml_trainer_env.arena.tokens.service import Caller, require

__all__ = ["router", "store_fields"]

router = APIRouter(include_in_schema=False)

Id = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.get("/competitions/{cid}/submit", response_class=HTMLResponse)
def form(cid: Id, request: Request, services: InjectedServices) -> HTMLResponse:
    """Show the form, and the quota of the signed-in user."""
    return _form_page(cid, request, services)


@router.post("/competitions/{cid}/submit")
async def submit(cid: Id, request: Request, services: InjectedServices) -> Response:
    """Create a submission from uploaded files and deploy it. If anything is refused, nothing is made."""
    require_same_site(request, services)
    caller, settings = await run_in_threadpool(_admit, cid, request, services)
    request.app.state.rates.take(caller.lookup)
    name = ""
    try:
        async with services.upload_locks.of(caller.user_id):
            fields = await read_form(request, settings.max_upload_size_bytes, settings.max_upload_files + 2)
            try:
                name = str(fields.get("name") or "")
                aid = await run_in_threadpool(_submit, cid, caller, settings, services, fields)
            finally:
                await fields.close()
    except NotFoundError:
        raise
    except ArenaError as error:
        return await run_in_threadpool(_form_page, cid, request, services, name, str(error), error.status)
    return RedirectResponse(f"/submissions/{aid}", 303, HEADERS)


def _admit(cid: int, request: Request, services: Services) -> tuple[Caller, CompetitionSettings]:
    """Find out who submits, before anything of the body is read.

    Raises:
        UnauthorizedError: Nobody is signed in.
        ForbiddenError: The token has another scope.
        NotFoundError: The competition does not exist or is hidden.
    """
    with services.database.transaction(read_only=True) as session:
        caller = signed_in(request, services, session)
        if caller is None:
            raise UnauthorizedError("sign in to submit")
        require(caller, Scope.USER)
        return caller, settings_of(visible_competition(session, cid, caller.user_id))


def store_fields(
    services: Services, caller: Caller, settings: CompetitionSettings, fields: FormData
) -> dict[str, tuple[str, int]]:
    """Store the files of a form, and parse its sources. They belong to no submission yet.

    Args:
        services: The components of the service.
        caller: Who sends the form.
        settings: Settings of the competition.
        fields: The form: files, the files of a folder, or archives.

    Returns:
        SHA-256 and size in bytes of each file, by its path.

    Raises:
        RefusedError: There are no files, or a path or an archive is not valid.
        TooManyError: The user's daily upload limit is exhausted.
    """
    uploads = [one for _, one in fields.multi_items() if isinstance(one, UploadFile) and one.filename]
    paths = lay_out([upload.filename or "" for upload in uploads])
    if not paths:
        raise RefusedError("choose files, a folder or a .zip archive")
    stored: list[tuple[str, tuple[str, int]]] = []
    for path, upload in zip(paths, uploads, strict=True):
        if path is not None:
            size = upload.size or 0
            stored += store_files(services, caller.user_id, settings, path, upload.file, size).items()
    require_distinct(path for path, _ in stored)
    files = dict(stored)
    services.sources.parse_ahead((path, *kept) for path, kept in files.items())
    return files


def _submit(cid: int, caller: Caller, settings: CompetitionSettings, services: Services, fields: FormData) -> int:
    try:
        wanted = NewAgent(agent_name=str(fields.get("name") or "").strip() or "agent")
    except ValidationError as error:
        raise RefusedError("a submission's name should have 1 to 64 letters, digits, spaces and . , + - _") from error
    files = store_fields(services, caller, settings, fields)
    with services.database.transaction(by=caller.user_id) as session:
        agent = service.attach(session, caller.user_id, cid, wanted.agent_name, None, services.sources)
        if (chosen := str(fields.get("runtime") or "")).isdecimal():
            service.set_runtime(session, agent, min(int(chosen[:10]), 2**31 - 1), services.sources)
        service.keep_files(session, agent, files, services.sources)
        service.deploy(session, agent, services)
        return agent.id


def _form_page(
    cid: int, request: Request, services: Services, name: str = "", error: str = "", status_code: int = 200
) -> HTMLResponse:
    with services.database.transaction(read_only=True) as session:
        caller = signed_in(request, services, session)
        found = visible_competition(session, cid, caller.user_id if caller else None)
        daily = services.settings.daily_deploys
        return render_page(
            "submit.html",
            caller,
            status_code,
            **page_head(session, found, caller, "submit"),
            quota=service.quota(session, found, caller.user_id, daily) if caller else None,
            daily_upload_mb=services.settings.daily_upload_bytes / 2**20,
            runtimes=[(one.id, f"{one.framework} {one.framework_version}") for one in runtimes(session)],
            name=name,
            error=error,
        )
