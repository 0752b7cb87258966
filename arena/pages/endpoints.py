"""The pages for people."""

from pathlib import Path as FilePath
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from sqlalchemy.orm import Session

from ml_trainer_env.arena.access import InjectedServices
from ml_trainer_env.arena.competitions.images import IMAGE_START, image_type
from ml_trainer_env.arena.competitions.repository import list_competitions, visible_competition
from ml_trainer_env.arena.competitions.service import describe, holds_results, settings_of
from ml_trainer_env.arena.errors import NotFoundError, UnauthorizedError
from ml_trainer_env.arena.leaderboard.history import earlier_scores
from ml_trainer_env.arena.pages.boards import board_page, page_head
from ml_trainer_env.arena.pages.charts import Earlier, charts_of
from ml_trainer_env.arena.pages.rendering import (
    HEADERS,
    cacheable_part,
    not_modified_or,
    render_page,
    require_same_site,
)
from ml_trainer_env.arena.pages.signin import forget, remember, signed_in
from ml_trainer_env.arena.runtimes import describe_runtimes
from ml_trainer_env.arena.tables import Agent, AgentStatus, Scope
from ml_trainer_env.arena.tokens.service import Caller, authenticate

__all__ = ["error_page", "router"]

router = APIRouter(include_in_schema=False)

Id = Annotated[int, Path(ge=1, le=2**31 - 1)]

_Key = Annotated[str, Query(max_length=32)]

PER_PAGE = 20
SHOWN_ROWS = 200
LOG_SHOWN = 20_000
STATIC = FilePath(__file__).parent / "static"
STATIC_TYPES = {"style.css": "text/css", "live.js": "text/javascript", "icon.svg": "image/svg+xml"}


@router.get("/", response_class=HTMLResponse)
def home(
    request: Request,
    services: InjectedServices,
    q: Annotated[str, Query(max_length=200)] = "",
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
) -> HTMLResponse:
    """Show the list of competitions."""
    with services.database.transaction(read_only=True) as session:
        found, more = list_competitions(session, q, None, [], page, PER_PAGE)
        shown = [describe(competition) for competition in found]
        return render_page(
            "home.html", signed_in(request, services, session), competitions=shown, q=q, page=page, more=more
        )


@router.get("/competitions/{cid}", response_class=HTMLResponse)
def competition(cid: Id, request: Request, services: InjectedServices, metric: _Key = "") -> HTMLResponse:
    """Show a competition: one of its boards, and the submissions of the signed-in user."""
    with services.database.transaction(read_only=True) as session:
        caller = signed_in(request, services, session)
        found = visible_competition(session, cid, caller.user_id if caller else None)
        shown = board_page(session, found, caller.user_id if caller else None, metric, SHOWN_ROWS)
        mine, has_image = _own_agents(session, cid, caller), found.image_sha256 is not None
        head = page_head(session, found, caller, "board")
        return render_page("competition.html", caller, **head, has_image=has_image, board=shown, mine=mine)


@router.get("/competitions/{cid}/rules", response_class=HTMLResponse)
def rules(cid: Id, request: Request, services: InjectedServices) -> HTMLResponse:
    """Show the rules of a competition."""
    with services.database.transaction(read_only=True) as session:
        caller = signed_in(request, services, session)
        found = visible_competition(session, cid, caller.user_id if caller else None)
        return render_page("rules.html", caller, **page_head(session, found, caller, "rules"))


@router.get("/competitions/{cid}/scores", response_class=HTMLResponse)
def scores(cid: Id, request: Request, services: InjectedServices) -> HTMLResponse:
    """Show the scores of a competition as charts: over time, and against time and memory."""
    with services.database.transaction(read_only=True) as session:
        caller = signed_in(request, services, session)
        found = visible_competition(session, cid, caller.user_id if caller else None)
        is_held = holds_results(session, found, caller.user_id if caller else None)
        entries = [] if is_held else request.app.state.boards.entries(session, found)[:SHOWN_ROWS]
        by_id = {entry.agent_id: entry for entry in entries}
        found_earlier = earlier_scores(session, by_id, SHOWN_ROWS)
        earlier = [Earlier(by_id[one.agent_id], one.at, one.mean) for one in found_earlier]
        charts = charts_of(entries, earlier, lower_is_better=settings_of(found).lower_is_better)
        head = page_head(session, found, caller, "scores")
        return render_page("scores.html", caller, **head, charts=charts, rows=entries, is_held=is_held)


@router.get("/runtimes", response_class=HTMLResponse)
def packages(request: Request, services: InjectedServices) -> HTMLResponse:
    """Show the runtimes with their packages."""
    with services.database.transaction(read_only=True) as session:
        return render_page("runtimes.html", signed_in(request, services, session), runtimes=describe_runtimes(session))


@router.get("/competitions/{cid}/image")
def image(cid: Id, request: Request, services: InjectedServices) -> Response:
    """Get the picture of a competition."""
    with services.database.transaction(read_only=True) as session:
        caller = signed_in(request, services, session)
        sha256 = visible_competition(session, cid, caller.user_id if caller else None).image_sha256
    if sha256 is None:
        raise NotFoundError("it has no picture")
    path = services.blobs.path(sha256)
    with path.open("rb") as file:
        media_type = image_type(file.read(IMAGE_START))
    return not_modified_or(request, FileResponse(path, media_type=media_type, headers=HEADERS), sha256)


@router.get("/competitions/{cid}/board", response_class=HTMLResponse)
def live_board(cid: Id, request: Request, services: InjectedServices, metric: _Key = "") -> Response:
    """Get the leaderboard as a fragment, for live updates of the page."""
    with services.database.transaction(read_only=True) as session:
        caller = signed_in(request, services, session)
        found = visible_competition(session, cid, caller.user_id if caller else None)
        shown = board_page(session, found, caller.user_id if caller else None, metric, SHOWN_ROWS)
        return cacheable_part(request, render_page("board.html", caller, board=shown))


@router.get("/signin", response_class=HTMLResponse)
def signin_form(request: Request, services: InjectedServices) -> HTMLResponse:
    """Show the sign-in form."""
    with services.database.transaction(read_only=True) as session:
        return render_page("signin.html", signed_in(request, services, session), error="")


@router.post("/signin")
def signin(request: Request, services: InjectedServices, token: Annotated[str, Form(max_length=200)] = "") -> Response:
    """Sign in."""
    require_same_site(request, services)
    request.app.state.rates.take(f"signin {request.client.host if request.client else ''}")
    with services.database.transaction(read_only=True) as session:
        try:
            caller = authenticate(session, token.strip())
            if caller.scope is Scope.WORKER:
                raise UnauthorizedError("this is the token of a worker, with which nobody signs in")
        except UnauthorizedError as error:
            return render_page("signin.html", None, error=str(error), status_code=401)
    response = RedirectResponse("/", 303, HEADERS)
    remember(response, services, caller)
    return response


@router.post("/signout")
def signout(request: Request, services: InjectedServices) -> Response:
    """Sign out."""
    require_same_site(request, services)
    response = RedirectResponse("/", 303, HEADERS)
    forget(response)
    return response


@router.get("/static/{name}")
def static(name: str) -> FileResponse:
    """Get a style sheet, script or icon."""
    if name not in STATIC_TYPES:
        raise NotFoundError("there is no such file")
    return FileResponse(STATIC / name, media_type=STATIC_TYPES[name], headers={"Cache-Control": "max-age=3600"})


def error_page(status_code: int, message: str) -> HTMLResponse:
    """Render an error page."""
    return render_page("error.html", None, status_code, status=status_code, message=message)


def _own_agents(session: Session, cid: int, caller: Caller | None) -> list[Agent]:
    if caller is None:
        return []
    own = Agent.competition_id == cid, Agent.user_id == caller.user_id, Agent.is_benchmark.is_(False)
    query = sa.select(Agent).where(*own, Agent.status != AgentStatus.DELETED)
    return list(session.scalars(query.order_by(Agent.id.desc()).limit(50)))
