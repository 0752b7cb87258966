"""HTTP endpoints for accounts: the caller's profile, and the ranking of all users."""

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from ml_trainer_env.arena.access import Anybody, InjectedServices, User
from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.challenges.values import iso
from ml_trainer_env.arena.competitions.service import holds_results
from ml_trainer_env.arena.errors import NotFoundError, RefusedError
from ml_trainer_env.arena.leaderboard.cache import Boards
from ml_trainer_env.arena.leaderboard.standings import standings
from ml_trainer_env.arena.tables import Competition, CompetitionAssistant, CourseAssistant, Enrollment, Scope, Token
from ml_trainer_env.arena.tables import User as UserTable
from ml_trainer_env.arena.teams.repository import teams_by_user

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["accounts"])

_MEDALS = {1: "medals_gold", 2: "medals_silver", 3: "medals_bronze"}
_AVATAR_STYLES = ("bottts", "identicon", "initials", "shapes", "thumbs")


class ProfileChange(BaseModel):
    """Changed fields of a profile."""

    model_config = ConfigDict(extra="ignore")

    username: str | None = Field(default=None, max_length=64)
    bio: str | None = Field(default=None, max_length=2000)
    github_page: str | None = Field(default=None, max_length=500)
    personal_website: str | None = Field(default=None, max_length=500)
    student_number: str | None = Field(default=None, max_length=64)
    student_email: str | None = Field(default=None, max_length=200)
    avatar_key: str | None = Field(default=None, pattern=rf"^(({'|'.join(_AVATAR_STYLES)}):[A-Za-z0-9_-]{{1,64}})?$")


@router.get("/profile/")
def profile(caller: User, services: InjectedServices) -> dict[str, Any]:
    """Get the caller's profile."""
    with services.database.transaction(read_only=True) as session:
        return _profile_row(session, session.get_one(UserTable, caller.user_id))


@router.put("/profile/update")
def update_profile(wanted: ProfileChange, caller: User, services: InjectedServices) -> dict[str, Any]:
    """Change the caller's profile. The user name cannot be changed: the operator gives tokens by it."""
    changes = wanted.model_dump(exclude_none=True)
    with services.database.transaction(by=caller.user_id) as session:
        user = session.get_one(UserTable, caller.user_id)
        if changes.pop("username", user.name) != user.name:
            raise RefusedError("a user name cannot be changed here: the operator of this service gives tokens by it")
        user.profile = {**user.profile, **changes}
        record(session, user.id, "profile.update", " ".join(sorted(changes)))
        return _profile_row(session, user)


@router.get("/auth/current_user")
def me(caller: User, services: InjectedServices) -> dict[str, Any]:
    """Get whose token this is, and what its owner may do."""
    with services.database.transaction(read_only=True) as session:
        user = session.get_one(UserTable, caller.user_id)
        owned = sa.select(Token.scope).where(Token.user_id == user.id, Token.revoked_at.is_(None))
        scopes = set(session.scalars(owned))
        assists = sa.select(CompetitionAssistant.user_id).where(CompetitionAssistant.user_id == user.id)
        helps = sa.select(CourseAssistant.user_id).where(CourseAssistant.user_id == user.id)
        is_creator, is_teacher = Scope.CREATOR in scopes, Scope.TEACHER in scopes
        return {
            "is_authenticated": True,
            "id": user.id,
            "username": user.name,
            "email": None,
            "avatar_key": user.profile.get("avatar_key"),
            "is_admin": False,
            "is_teacher": is_teacher,
            "is_creator": is_creator,
            "is_human_verified": True,
            "has_teacher_access": is_teacher or session.scalar(helps.limit(1)) is not None,
            "has_creator_access": is_creator or session.scalar(assists.limit(1)) is not None,
            "can_create_course": is_teacher,
            "scope": caller.scope,
        }


@router.get("/ranking/")
def ranking(
    caller: Anybody,  # noqa: ARG001 - a token that is not valid is refused
    services: InjectedServices,
    request: Request,
    search: Annotated[str, Query(max_length=64)] = "",
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
    per_page: Annotated[int, Query(ge=1, le=100)] = 100,
) -> dict[str, Any]:
    """Rank the users by their places in all public challenges."""
    with services.database.transaction(read_only=True) as session:
        users = _ranked_users(session, request.app.state.boards)
    found = [user for user in users if search.lower() in user.name.lower()]
    pages = max(1, math.ceil(len(found) / per_page))
    return {
        "rankings": [_ranking_row(user) for user in found[(page - 1) * per_page : page * per_page]],
        "metadata": {
            "total_pages": pages,
            "current_page": page,
            "total_users": len(found),
            "has_next": page < pages,
            "has_prev": page > 1,
        },
    }


@router.get("/ranking/user/{user_id}")
def user_rank(
    user_id: Annotated[int, Path(ge=1, le=2**31 - 1)],
    caller: Anybody,  # noqa: ARG001 - a token that is not valid is refused
    services: InjectedServices,
    request: Request,
) -> dict[str, Any]:
    """Get the rank of a user among all users. It needs no token: mlarena-sdk 1.0.0 sends none, and reads `stats`."""
    with services.database.transaction(read_only=True) as session:
        users = _ranked_users(session, request.app.state.boards)
    found = next(((position, user) for position, user in enumerate(users, 1) if user.user_id == user_id), None)
    if found is None:
        raise NotFoundError("there is no such user")
    position, user = found
    row = _ranking_row(user) | {"percentile": None, "position": None}
    if user.rank is not None:
        ranked = sum(one.rank is not None for one in users)
        row |= {"percentile": 100.0 * (ranked - position + 1) / ranked, "position": position}
    return row | {"stats": row}


@dataclass(slots=True)
class _Tally:
    """Points and medals of a user."""

    points: float = 0.0
    medals_gold: int = 0
    medals_silver: int = 0
    medals_bronze: int = 0


@dataclass(frozen=True, slots=True)
class _Ranked:
    """A user with a rank; None for a user without points."""

    user_id: int
    name: str
    avatar_key: str | None
    rank: int | None
    tally: _Tally


def _ranked_users(session: Session, boards: Boards) -> list[_Ranked]:
    """Rank all users by points. Equals share a rank; a user without points has none and comes last.

    Each public challenge that has started gives points to its participants, by the formula that newer clients
    document: 100000 rank^-0.75 log10(1 + log10(N)) / sqrt(team size), with N ranked participants.
    """
    tallies: defaultdict[int, _Tally] = defaultdict(_Tally)
    query = sa.select(Competition).where(Competition.is_public, Competition.started_at.is_not(None))
    for competition in session.scalars(query):
        if holds_results(session, competition, None):
            continue
        teams = teams_by_user(session, competition.id)
        entries = [entry for entry in boards.entries(session, competition) if not entry.is_benchmark]
        places = standings(entries, {user_id: team.id for user_id, team in teams.items()})
        for place in places:
            team = teams.get(place.entry.user_id)
            members = [one.user_id for one in team.members] if team else [place.entry.user_id]
            spread = math.log10(1 + math.log10(len(places)))
            points = 100_000 * place.rank**-0.75 * spread / math.sqrt(len(members))
            for user_id in members:
                tally = tallies[user_id]
                tally.points += points
                if medal := _MEDALS.get(place.rank):
                    setattr(tally, medal, getattr(tally, medal) + 1)
    found = [(tallies[user.id], user) for user in session.scalars(sa.select(UserTable))]
    found.sort(key=lambda one: (-one[0].points, one[1].name))
    ranked: list[_Ranked] = []
    for position, (tally, user) in enumerate(found, 1):
        above = ranked[-1] if ranked else None
        rank: int | None = position
        if tally.points == 0:
            rank = None
        elif above is not None and above.tally.points == tally.points:
            rank = above.rank
        ranked.append(_Ranked(user.id, user.name, user.profile.get("avatar_key"), rank, tally))
    return ranked


def _ranking_row(user: _Ranked) -> dict[str, Any]:
    return {
        "user_id": user.user_id,
        "username": user.name,
        "avatar_key": user.avatar_key,
        "rank": user.rank,
        "current_points": user.tally.points,
        "medals_gold": user.tally.medals_gold,
        "medals_silver": user.tally.medals_silver,
        "medals_bronze": user.tally.medals_bronze,
    }


def _profile_row(session: Session, user: UserTable) -> dict[str, Any]:
    query = sa.select(Enrollment).where(Enrollment.user_id == user.id).order_by(Enrollment.id)
    names = ("bio", "github_page", "personal_website", "student_number", "student_email", "avatar_key")
    return {
        "id": user.id,
        "username": user.name,
        "email": None,
        **{name: user.profile.get(name) for name in names},
        "enrollments": [
            {
                "course": {"id": one.course_id, "name": one.course.name},
                "project_url": one.project_url,
                "enrolled_at_ts": iso(one.created_at),
            }
            for one in session.scalars(query)
        ],
    }
