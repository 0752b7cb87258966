"""Queries for teams."""

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from ml_trainer_env.arena.tables import Team, TeamMember

__all__ = ["participant_ids", "team_of", "teams_by_user"]


def team_of(session: Session, competition_id: int, user_id: int) -> Team | None:
    """Get the team of a user in a competition; None without a team."""
    return session.scalar(
        sa.select(Team).join(TeamMember).where(Team.competition_id == competition_id, TeamMember.user_id == user_id)
    )


def teams_by_user(session: Session, competition_id: int) -> dict[int, Team]:
    """Get all teams of a competition with their members, by the ids of the members."""
    query = sa.select(Team).where(Team.competition_id == competition_id).options(joinedload(Team.members))
    return {member.user_id: team for team in session.scalars(query).unique() for member in team.members}


def participant_ids(session: Session, competition_id: int, user_id: int) -> set[int]:
    """Get the ids of the users who take part together with a user: the members of the team, or the user alone."""
    team = team_of(session, competition_id, user_id)
    return {user_id} if team is None else {member.user_id for member in team.members}
