"""The page of a competition's organisers: rules, submissions, a download of everything, and the audit log."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from sqlalchemy.orm import Session

from ml_trainer_env.arena import audit
from ml_trainer_env.arena.access import InjectedServices
from ml_trainer_env.arena.competitions import config
from ml_trainer_env.arena.competitions.repository import own_competition
from ml_trainer_env.arena.errors import ArenaError, NotFoundError, RefusedError
from ml_trainer_env.arena.organisers import service
from ml_trainer_env.arena.organisers.download import collect, pack
from ml_trainer_env.arena.pages.boards import page_head
from ml_trainer_env.arena.pages.rendering import HEADERS, render_page, require_same_site
from ml_trainer_env.arena.pages.signin import signed_in
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.tables import Competition, Scope
from ml_trainer_env.arena.tokens.service import Caller, require

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

Id = Annotated[int, Path(ge=1, le=2**31 - 1)]
AUDIT_ROWS = 100

_ACTIONS: dict[str, Callable[[Services, int, int, int], object]] = {
    "rerun": service.rerun,
    "cancel": service.cancel,
    "delete": service.delete,
    "baseline": lambda services, cid, aid, by: service.mark_baseline(services, cid, aid, True, by),
    "unmark": lambda services, cid, aid, by: service.mark_baseline(services, cid, aid, False, by),
}
"""What the buttons beside a submission do."""


@router.get("/competitions/{cid}/organise", response_class=HTMLResponse)
def organise(cid: Id, request: Request, services: InjectedServices) -> HTMLResponse:
    """Show the rules of a competition and all of its submissions to an organiser."""
    return _page(cid, request, services)


@router.get("/competitions/{cid}/organise/archive")
def archive(cid: Id, request: Request, services: InjectedServices) -> StreamingResponse:
    """Get the files of all submissions and a table of their scores as a zip archive."""
    with services.database.transaction() as session:
        caller, own = _admit(session, cid, request, services)
        found = collect(session, request.app.state.boards, own)
        audit.record(session, caller.user_id, "competition.download", str(cid), cid)
    named = {"Content-Disposition": f'attachment; filename="competition-{cid}.zip"', "Cache-Control": "no-store"}
    return StreamingResponse(pack(found, services.blobs), media_type="application/zip", headers={**HEADERS, **named})


@router.get("/competitions/{cid}/organise/audit", response_class=HTMLResponse)
def read_audit(
    cid: Id,
    request: Request,
    services: InjectedServices,
    user: Annotated[str, Query(max_length=64)] = "",
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
) -> HTMLResponse:
    """Show what was done in a competition, newest first."""
    with services.database.transaction(read_only=True) as session:
        caller, own = _admit(session, cid, request, services)
        entries = audit.read(session, audit.Filter(cid, user, "", before), AUDIT_ROWS)
        more = len(entries) == AUDIT_ROWS
        head = page_head(session, own, caller, "organise")
        return render_page("audit.html", caller, **head, entries=entries, user=user, more=more)


@router.post("/competitions/{cid}/organise/rules")
def change_rules(
    cid: Id,
    request: Request,
    services: InjectedServices,
    rows_per_participant: Annotated[str, Form(max_length=10)] = "",
    deletion_allowed: Annotated[bool, Form()] = False,
    results_held: Annotated[bool, Form()] = False,
    quota_returned: Annotated[list[str] | None, Form(max_length=2)] = None,
) -> Response:
    """Change the rules that may change while a competition runs."""

    def change(session: Session, caller: Caller, own: Competition) -> None:
        wanted: dict[str, Any] = {
            "deletion_allowed": deletion_allowed,
            "quota_returned": quota_returned or [],
            "results_held": results_held,
            "rows_per_participant": _count(rows_per_participant),
        }
        before = config.config_document(own, None)["values"]
        changes = {name: value for name, value in wanted.items() if before[name] != value}
        config.apply_changes(session, own, changes, services.settings.max_upload_bytes)
        if changes:
            audit.record(session, caller.user_id, "competition.settings", config.describe_changes(cid, changes), cid)

    require_same_site(request, services)
    try:
        with services.database.transaction() as session:
            caller, own = _admit(session, cid, request, services)
            request.app.state.rates.take(caller.lookup)
            change(session, caller, own)
    except NotFoundError:
        raise
    except ArenaError as error:
        return _page(cid, request, services, str(error), error.status)
    return _back(cid)


@router.post("/competitions/{cid}/organise/rerun")
def rerun_all(cid: Id, request: Request, services: InjectedServices) -> Response:
    """Run every submission again that was ever evaluated."""
    caller = _caller(cid, request, services)
    found = service.rerun_all(services, cid, caller.user_id)
    if not found.refused:
        return _back(cid)
    return _page(cid, request, services, "; ".join(f"{aid}: {why}" for aid, why in found.refused.items()), 400)


@router.post("/competitions/{cid}/organise/{aid}")
def act(
    cid: Id, aid: Id, request: Request, services: InjectedServices, action: Annotated[str, Form(max_length=20)] = ""
) -> Response:
    """Do something with a submission."""
    caller = _caller(cid, request, services)
    if action not in _ACTIONS:
        raise RefusedError(f"action should be one of {', '.join(_ACTIONS)}")
    try:
        _ACTIONS[action](services, cid, aid, caller.user_id)
    except NotFoundError:
        raise
    except ArenaError as error:
        return _page(cid, request, services, str(error), error.status)
    return _back(cid)


def _caller(cid: int, request: Request, services: Services) -> Caller:
    """Check that a form comes from this site and from an organiser of the competition."""
    require_same_site(request, services)
    with services.database.transaction(read_only=True) as session:
        caller, _ = _admit(session, cid, request, services)
    request.app.state.rates.take(caller.lookup)
    return caller


def _admit(session: Session, cid: int, request: Request, services: Services) -> tuple[Caller, Competition]:
    """Get the signed-in organiser and the competition.

    Raises:
        NotFoundError: Nobody is signed in, or the user does not organise the competition.
        ForbiddenError: The token is not one of a creator.
    """
    caller = signed_in(request, services, session)
    if caller is None:
        raise NotFoundError("sign in to organise a competition")
    own = own_competition(session, cid, caller.user_id)
    require(caller, Scope.CREATOR)
    return caller, own


def _page(cid: int, request: Request, services: Services, error: str = "", status_code: int = 200) -> HTMLResponse:
    with services.database.transaction(read_only=True) as session:
        caller, own = _admit(session, cid, request, services)
        rows = service.submission_rows(session, request.app.state.boards, own)
        head = page_head(session, own, caller, "organise")
        held = sorted(set(own.config_origin.get("file", {})) & set(config.RUNNING_EDITABLE))
        return render_page("organise.html", caller, status_code, **head, rows=rows, error=error, of_file=held)


def _back(cid: int) -> RedirectResponse:
    return RedirectResponse(f"/competitions/{cid}/organise", 303, HEADERS)


def _count(text: str) -> int | None:
    """Read a number of rows; None for an empty field."""
    if text.strip() and not (text.isascii() and text.isdecimal()):
        raise RefusedError(f"the number of rows should be a whole number of at least 1, or empty, got {text!r}")
    return int(text) if text.strip() else None
