"""Pages of people: what one has submitted, in one place, and what everybody may know of a user."""

from collections.abc import Iterable
from typing import Annotated, Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session, joinedload

from ml_trainer_env.arena.access import InjectedServices
from ml_trainer_env.arena.competitions.repository import visible_to
from ml_trainer_env.arena.competitions.service import holds_results
from ml_trainer_env.arena.errors import NotFoundError, UnauthorizedError
from ml_trainer_env.arena.leaderboard.cache import Boards
from ml_trainer_env.arena.leaderboard.standings import Standing, standings
from ml_trainer_env.arena.pages.rendering import render_page
from ml_trainer_env.arena.pages.signin import signed_in
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.tables import Agent, AgentStatus, Competition, User

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

SHOWN = 500
"""Submissions on a page, the newest."""


@router.get("/submissions", response_class=HTMLResponse)
def own_submissions(request: Request, services: InjectedServices) -> HTMLResponse:
    """Show all submissions of the signed-in user, and what is left of the quota in each competition."""
    with services.database.transaction(read_only=True) as session:
        caller = signed_in(request, services, session)
        if caller is None:
            raise UnauthorizedError("sign in to see your submissions")
        agents = _agents(session, caller.user_id, caller.user_id, Agent.status != AgentStatus.DELETED)
        competitions = {agent.competition_id: agent.competition for agent in agents}
        places = _places(session, request.app.state.boards, competitions.values(), caller.user_id)
        daily = services.settings.daily_deploys
        quotas = [(one, service.quota(session, one, caller.user_id, daily)) for one in competitions.values()]
        return render_page(
            "submissions.html", caller, rows=[(one, places.get(one.id)) for one in agents], quotas=quotas
        )


@router.get("/users/{name}", response_class=HTMLResponse)
def user(name: Annotated[str, Path(max_length=64)], request: Request, services: InjectedServices) -> HTMLResponse:
    """Show a user: the profile without what is private, and the places on leaderboards that the reader may see."""
    with services.database.transaction(read_only=True) as session:
        caller = signed_in(request, services, session)
        found = session.scalar(sa.select(User).where(User.name == name))
        if found is None:
            raise NotFoundError("there is no such user")
        reader_id = caller.user_id if caller else None
        agents = _agents(session, found.id, reader_id, Agent.status == AgentStatus.ACTIVE)
        competitions = {agent.competition_id: agent.competition for agent in agents}
        places = _places(session, request.app.state.boards, competitions.values(), reader_id)
        rows = [(agent, places[agent.id]) for agent in agents if agent.id in places]
        profile: dict[str, Any] = found.profile
        links = [profile.get("github_page"), profile.get("personal_website")]
        return render_page(
            "user.html",
            caller,
            name=found.name,
            bio=profile.get("bio") or "",
            links=[link for link in links if link and _is_web(link)],
            since=found.created_at,
            rows=sorted(rows, key=lambda row: (row[1].rank, row[0].id)),
        )


def _agents(session: Session, user_id: int, reader_id: int | None, condition: sa.ColumnElement[bool]) -> list[Agent]:
    """List submissions of a user to competitions that a reader may see, newest first."""
    query = sa.select(Agent).join(Competition).where(Agent.user_id == user_id, Agent.is_benchmark.is_(False), condition)
    query = query.where(visible_to(reader_id)).options(joinedload(Agent.competition))
    return list(session.scalars(query.order_by(Agent.id.desc()).limit(SHOWN)))


def _places(
    session: Session, boards: Boards, competitions: Iterable[Competition], reader_id: int | None
) -> dict[int, Standing]:
    """Get the places of all submissions to competitions that the reader may know of, by their ids."""
    shown = [one for one in competitions if not holds_results(session, one, reader_id)]
    found = (standings(boards.entries(session, one), None) for one in shown)
    return {place.entry.agent_id: place for places in found for place in places}


def _is_web(link: str) -> bool:
    try:
        return urlsplit(link).scheme in {"http", "https"}
    except ValueError:  # unbalanced brackets
        return False
