"""HTTP endpoints for teams and their invitations. Any token may take part in a team."""

from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from ml_trainer_env.arena.access import InjectedServices, User
from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.challenges.values import iso
from ml_trainer_env.arena.competitions.repository import visible_competition
from ml_trainer_env.arena.tables import Invitation, InvitationStatus, Team
from ml_trainer_env.arena.teams import service
from ml_trainer_env.arena.teams.repository import team_of

__all__ = ["router"]

router = APIRouter(prefix="/api/teams", tags=["teams"])

Id = Annotated[int, Path(ge=1, le=2**31 - 1)]
_NAME = r"^\w[\w .,+@=()&#!'-]*$"


class NewTeam(BaseModel):
    """A new team."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(min_length=1, max_length=64, pattern=_NAME)


class TeamChange(NewTeam):
    """A new name, and whether the team looks for members; None to keep it."""

    looking_for_members: bool | None = None


class Invited(BaseModel):
    """A user to invite."""

    user_id: int = Field(ge=1, le=2**31 - 1)


class Response(BaseModel):
    """The response to an invitation."""

    accept: bool


@router.get("/challenge/{cid}/team", response_model=dict[str, Any] | None)
def own_team(cid: Id, caller: User, services: InjectedServices) -> dict[str, Any] | None:
    """Get the caller's team of a challenge; null without one."""
    with services.database.transaction(read_only=True) as session:
        visible_competition(session, cid, caller.user_id)
        team = team_of(session, cid, caller.user_id)
        return None if team is None else _team_row(team, caller.user_id)


@router.post("/challenge/{cid}/team", status_code=201)
def create(cid: Id, wanted: NewTeam, caller: User, services: InjectedServices) -> dict[str, Any]:
    """Create a team. The caller becomes its leader."""
    with services.database.transaction(by=caller.user_id) as session:
        competition = visible_competition(session, cid, caller.user_id)
        return _team_row(service.create(session, competition, caller.user_id, wanted.name), caller.user_id)


@router.get("/search")
def search(
    caller: User,
    services: InjectedServices,
    challenge_id: Annotated[int, Query(ge=1, le=2**31 - 1)],
    q: Annotated[str, Query(max_length=64)] = "",
) -> dict[str, Any]:
    """Find users whom a team could invite: those with a submission to the challenge."""
    with services.database.transaction(read_only=True) as session:
        visible_competition(session, challenge_id, caller.user_id)
        users = service.find_candidates(session, challenge_id, q) if q else []
        rows = [{"id": user.id, "username": user.name, "avatar_key": user.profile.get("avatar_key")} for user in users]
    return {"users": rows}


@router.get("/invitations/received")
def received(caller: User, services: InjectedServices) -> list[dict[str, Any]]:
    """List the pending invitations to the caller."""
    query = sa.select(Invitation).where(
        Invitation.user_id == caller.user_id, Invitation.status == InvitationStatus.PENDING
    )
    with services.database.transaction(read_only=True) as session:
        return [_invitation_row(one) for one in session.scalars(query.order_by(Invitation.id))]


@router.post("/invitations/{invitation_id}/respond", response_model=dict[str, Any])
def respond(invitation_id: Id, wanted: Response, caller: User, services: InjectedServices) -> Any:
    """Accept or decline an invitation to the caller."""
    try:
        with services.database.transaction(by=caller.user_id) as session:
            return _invitation_row(service.respond(session, invitation_id, caller.user_id, wanted.accept))
    except service.TooManyActiveError as error:
        limits = {"combined_active": error.combined, "max_active_submissions": error.most}
        return JSONResponse({"error": str(error), **limits, "excess": error.combined - error.most}, error.status)


@router.delete("/invitations/{invitation_id}")
def cancel(invitation_id: Id, caller: User, services: InjectedServices) -> dict[str, Any]:
    """Cancel an invitation of the caller's team. For its leader only."""
    with services.database.transaction(by=caller.user_id) as session:
        return _invitation_row(service.cancel(session, invitation_id, caller.user_id))


@router.put("/{team_id}")
def update(team_id: Id, wanted: TeamChange, caller: User, services: InjectedServices) -> dict[str, Any]:
    """Rename a team, and say whether it looks for members. For its leader only."""
    with services.database.transaction(by=caller.user_id) as session:
        team = service.led_team(session, team_id, caller.user_id)
        team.name = wanted.name
        if wanted.looking_for_members is not None:
            team.looking_for_members = wanted.looking_for_members
        record(session, caller.user_id, "team.update", str(team_id), team.competition_id)
        return _team_row(team, caller.user_id)


@router.delete("/{team_id}")
def delete(team_id: Id, caller: User, services: InjectedServices) -> dict[str, Any]:
    """Delete a team with its members and invitations. For its leader only."""
    with services.database.transaction(by=caller.user_id) as session:
        service.delete(session, service.led_team(session, team_id, caller.user_id), caller.user_id)
    return {"message": "the team was deleted"}


@router.post("/{team_id}/leave")
def leave(team_id: Id, caller: User, services: InjectedServices) -> dict[str, Any]:
    """Leave a team."""
    with services.database.transaction(by=caller.user_id) as session:
        service.leave(session, team_id, caller.user_id)
    return {"message": "you have left the team"}


@router.delete("/{team_id}/members/{member_id}")
def remove_member(team_id: Id, member_id: Id, caller: User, services: InjectedServices) -> dict[str, Any]:
    """Remove a member from a team. For its leader only."""
    with services.database.transaction(by=caller.user_id) as session:
        team = service.led_team(session, team_id, caller.user_id)
        service.remove_member(session, team, member_id, caller.user_id)
        return _team_row(team, caller.user_id)


@router.post("/{team_id}/invitations", status_code=201)
def invite(team_id: Id, wanted: Invited, caller: User, services: InjectedServices) -> dict[str, Any]:
    """Invite a user who takes part in the challenge. For the team's leader only."""
    with services.database.transaction(by=caller.user_id) as session:
        team = service.led_team(session, team_id, caller.user_id)
        return _invitation_row(service.invite(session, team, wanted.user_id, caller.user_id))


@router.get("/{team_id}/invitations/pending")
def pending(team_id: Id, caller: User, services: InjectedServices) -> list[dict[str, Any]]:
    """List the pending invitations of a team. For its leader only."""
    query = sa.select(Invitation).where(Invitation.team_id == team_id, Invitation.status == InvitationStatus.PENDING)
    with services.database.transaction(read_only=True) as session:
        service.led_team(session, team_id, caller.user_id)
        return [_invitation_row(one) for one in session.scalars(query.order_by(Invitation.id))]


def _team_row(team: Team, user_id: int) -> dict[str, Any]:
    members = [
        {
            "id": one.id,
            "user_id": one.user_id,
            "username": one.user.name,
            "avatar_key": one.user.profile.get("avatar_key"),
            "role": one.role,
        }
        for one in team.members
    ]
    return {
        "id": team.id,
        "challenge_id": team.competition_id,
        "name": team.name,
        "looking_for_members": team.looking_for_members,
        "created_at_ts": iso(team.created_at),
        "members": members,
        "my_role": next((one.role for one in team.members if one.user_id == user_id), None),
    }


def _invitation_row(invitation: Invitation) -> dict[str, Any]:
    return {
        "id": invitation.id,
        "team_id": invitation.team_id,
        "team_name": invitation.team.name,
        "user_id": invitation.user_id,
        "username": invitation.user.name,
        "sender_id": invitation.sender_id,
        "sender_username": invitation.sender.name,
        "status": invitation.status,
        "created_at_ts": iso(invitation.created_at),
    }
