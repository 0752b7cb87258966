"""Rules of teams: a user is in one team of a competition at the most, and a leader decides about the team."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ml_trainer_env.arena.audit import record
from ml_trainer_env.arena.competitions.repository import can_see
from ml_trainer_env.arena.competitions.service import settings_of
from ml_trainer_env.arena.errors import ArenaError, ForbiddenError, NotFoundError, RefusedError
from ml_trainer_env.arena.tables import (
    Agent,
    AgentStatus,
    Competition,
    Invitation,
    InvitationStatus,
    Team,
    TeamMember,
    TeamRole,
    User,
)
from ml_trainer_env.arena.teams.repository import team_of

__all__ = [
    "ConflictError",
    "TooManyActiveError",
    "active_agents",
    "cancel",
    "create",
    "delete",
    "find_candidates",
    "invite",
    "leave",
    "led_team",
    "remove_member",
    "respond",
]

MAX_MEMBERS = 20
MAX_PENDING = 50
MAX_CANDIDATES = 5
_COUNTED = (AgentStatus.ACTIVE, AgentStatus.DEPLOY_QUEUE, AgentStatus.DEPLOY_RUN)


class ConflictError(ArenaError):
    """The change does not fit to what another user has done."""

    status = 409


class TooManyActiveError(ConflictError):
    """The team would have too many active submissions.

    Attributes:
        combined: Active submissions of the team and the new member.
        most: The limit of the competition.
    """

    def __init__(self, combined: int, most: int) -> None:
        super().__init__(f"together you have {combined} active submissions, and a participant may have {most}")
        self.combined, self.most = combined, most


def create(session: Session, competition: Competition, user_id: int, name: str) -> Team:
    """Create a team. The user becomes its leader.

    Raises:
        RefusedError: The user is in a team of this competition.
    """
    if team_of(session, competition.id, user_id) is not None:
        raise RefusedError("you are in a team of this challenge already")
    team = Team(competition_id=competition.id, name=name)
    team.members.append(TeamMember(competition_id=competition.id, user_id=user_id, role=TeamRole.LEADER))
    session.add(team)
    session.flush()
    record(session, user_id, "team.create", f"{competition.id} {team.id}", competition.id)
    return team


def led_team(session: Session, team_id: int, user_id: int) -> Team:
    """Get a team of this leader.

    Raises:
        NotFoundError: It does not exist, or the user is not in it.
        ForbiddenError: The user is a plain member.
    """
    team, member = _membership(session, team_id, user_id)
    if member.role != TeamRole.LEADER:
        raise ForbiddenError("only the leader of a team may do this")
    return team


def delete(session: Session, team: Team, user_id: int) -> None:
    """Delete a team with its members and invitations."""
    session.execute(sa.delete(Invitation).where(Invitation.team_id == team.id))
    session.delete(team)
    record(session, user_id, "team.delete", str(team.id), team.competition_id)


def leave(session: Session, team_id: int, user_id: int) -> None:
    """Leave a team.

    Raises:
        NotFoundError: It does not exist, or the user is not in it.
        RefusedError: The user is its leader.
    """
    team, member = _membership(session, team_id, user_id)
    if member.role == TeamRole.LEADER:
        raise RefusedError("a leader cannot leave: delete the team")
    team.members.remove(member)
    record(session, user_id, "team.leave", str(team_id), team.competition_id)


def remove_member(session: Session, team: Team, member_id: int, user_id: int) -> None:
    """Remove a member from a team.

    Raises:
        NotFoundError: The team has no such member.
        RefusedError: The member is the leader.
    """
    member = next((one for one in team.members if one.id == member_id), None)
    if member is None:
        raise NotFoundError("the team has no such member")
    if member.role == TeamRole.LEADER:
        raise RefusedError("a leader cannot be removed: delete the team")
    team.members.remove(member)
    record(session, user_id, "team.remove", f"{team.id} {member.user_id}", team.competition_id)


def find_candidates(session: Session, competition_id: int, words: str) -> list[User]:
    """Find users with a submission to a competition whose names contain a text. At most 5."""
    taking_part = sa.select(Agent.user_id).where(
        Agent.competition_id == competition_id, ~Agent.is_benchmark, Agent.status != AgentStatus.DELETED
    )
    query = sa.select(User).where(User.id.in_(taking_part), User.name.icontains(words, autoescape=True))
    return list(session.scalars(query.order_by(User.name).limit(MAX_CANDIDATES)))


def invite(session: Session, team: Team, user_id: int, sender_id: int) -> Invitation:
    """Invite a user who takes part in the competition.

    Raises:
        NotFoundError: The user does not exist or has no submission to the competition.
        RefusedError: The user is invited already, or the team is full.
        ConflictError: The user is in a team.
    """
    taking_part = sa.select(Agent.id).where(
        Agent.competition_id == team.competition_id, Agent.user_id == user_id, ~Agent.is_benchmark
    )
    if session.get(User, user_id) is None or session.scalar(taking_part.limit(1)) is None:
        raise NotFoundError("no such user takes part in the challenge")
    if team_of(session, team.competition_id, user_id) is not None:
        raise ConflictError("the user is in a team of the challenge already")
    pending = _pending(session, team.id)
    if any(one.user_id == user_id for one in pending):
        raise RefusedError("the user is invited already")
    if len(pending) >= MAX_PENDING or len(team.members) >= MAX_MEMBERS:
        raise RefusedError(f"a team may have {MAX_MEMBERS} members and {MAX_PENDING} pending invitations")
    made = Invitation(team_id=team.id, user_id=user_id, sender_id=sender_id)
    session.add(made)
    session.flush()
    record(session, sender_id, "team.invite", f"{team.id} {user_id}", team.competition_id)
    return made


def respond(session: Session, invitation_id: int, user_id: int, accept: bool) -> Invitation:
    """Accept or decline an invitation to this user.

    Raises:
        NotFoundError: There is no such pending invitation to the user, or the competition is hidden.
        ConflictError: The user is in a team already, or the team is full.
        TooManyActiveError: The team would have too many active submissions.
    """
    found = session.get(Invitation, invitation_id)
    if found is None or found.user_id != user_id or found.status != InvitationStatus.PENDING:
        raise NotFoundError("there is no such invitation")
    team = session.get_one(Team, found.team_id)
    if accept:
        competition = session.get_one(Competition, team.competition_id)
        if not can_see(session, competition, user_id):
            raise NotFoundError("there is no such invitation")
        if team_of(session, team.competition_id, user_id) is not None:
            raise ConflictError("you are in a team of the challenge already")
        if len(team.members) >= MAX_MEMBERS:
            raise ConflictError(f"the team has {MAX_MEMBERS} members already")
        members = {user_id, *(one.user_id for one in team.members)}
        combined = active_agents(session, team.competition_id, members)
        most = settings_of(competition).max_active_agents_per_participant
        if combined > most:
            raise TooManyActiveError(combined, most)
        member = TeamMember(competition_id=team.competition_id, user_id=user_id, role=TeamRole.MEMBER)
        team.members.append(member)
    found.status = InvitationStatus.ACCEPTED if accept else InvitationStatus.DECLINED
    record(session, user_id, f"team.{found.status}", f"{team.id} {found.id}", team.competition_id)
    session.flush()
    return found


def cancel(session: Session, invitation_id: int, user_id: int) -> Invitation:
    """Cancel a pending invitation of a team that the user leads.

    Raises:
        NotFoundError: There is no such pending invitation of a team of the user.
        ForbiddenError: The user is a plain member.
    """
    found = session.get(Invitation, invitation_id)
    if found is None or found.status != InvitationStatus.PENDING:
        raise NotFoundError("there is no such invitation")
    team = led_team(session, found.team_id, user_id)
    found.status = InvitationStatus.CANCELLED
    record(session, user_id, "team.cancel", f"{found.team_id} {found.id}", team.competition_id)
    return found


def active_agents(session: Session, competition_id: int, user_ids: set[int]) -> int:
    """Count the submissions of users that are active or being evaluated."""
    query = sa.select(sa.func.count()).where(
        Agent.competition_id == competition_id,
        Agent.user_id.in_(user_ids),
        Agent.status.in_(_COUNTED),
        ~Agent.is_benchmark,
    )
    return session.scalar(query.select_from(Agent)) or 0


def _membership(session: Session, team_id: int, user_id: int) -> tuple[Team, TeamMember]:
    team = session.get(Team, team_id)
    member = next((one for one in team.members if one.user_id == user_id), None) if team else None
    if team is None or member is None:
        raise NotFoundError("there is no such team")
    return team, member


def _pending(session: Session, team_id: int) -> list[Invitation]:
    query = sa.select(Invitation).where(Invitation.team_id == team_id, Invitation.status == InvitationStatus.PENDING)
    return list(session.scalars(query.order_by(Invitation.id)))
