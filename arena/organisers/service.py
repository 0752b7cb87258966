"""What the organisers of a competition do with its submissions: list, run again, cancel, mark, delete.

Organisers are the creator, the assistants, and the operator of the service, whose user id is None.
"""

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from ml_trainer_env.arena.competitions.repository import find_competition, own_competition
from ml_trainer_env.arena.errors import ArenaError, NotFoundError
from ml_trainer_env.arena.leaderboard.cache import Boards
from ml_trainer_env.arena.leaderboard.standings import standings
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.submissions import service
from ml_trainer_env.arena.submissions.repository import open_deploys
from ml_trainer_env.arena.tables import Agent, AgentStatus, Competition, Deploy
from ml_trainer_env.arena.teams.repository import teams_by_user

__all__ = [
    "Rerun",
    "Reruns",
    "cancel",
    "delete",
    "mark_baseline",
    "organised_competition",
    "rerun",
    "rerun_all",
    "submission_of",
    "submission_rows",
    "submissions_query",
]


@dataclass(frozen=True, slots=True)
class Rerun:
    """An ordered evaluation.

    Attributes:
        agent: The submission.
        deploy_id: The evaluation.
        dropped: Number of results that no longer count.
    """

    agent: Agent
    deploy_id: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Reruns:
    """What has become of the order to run all submissions again. `refused` has the reason by submission."""

    done: list[Rerun] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)


def organised_competition(session: Session, competition_id: int, by: int | None) -> Competition:
    """Get a competition of this organiser.

    Raises:
        NotFoundError: It does not exist, or the user may not edit it.
    """
    return find_competition(session, competition_id) if by is None else own_competition(session, competition_id, by)


def submission_of(session: Session, competition_id: int, agent_id: int, by: int | None) -> Agent:
    """Get a submission to a competition of this organiser.

    Raises:
        NotFoundError: The competition does not exist or is not the organiser's, or it has no such submission.
    """
    organised_competition(session, competition_id, by)
    agent = session.get(Agent, agent_id, options=[joinedload(Agent.competition)])
    if (
        agent is None
        or agent.competition_id != competition_id
        or agent.is_benchmark
        or agent.status == AgentStatus.DELETED
    ):
        raise NotFoundError("the competition has no such submission")
    return agent


def submissions_query(competition_id: int) -> sa.Select[Agent]:
    """Query the submissions to a competition, newest first, without deleted ones and the benchmark."""
    query = sa.select(Agent).where(
        Agent.competition_id == competition_id, Agent.status != AgentStatus.DELETED, Agent.is_benchmark.is_(False)
    )
    return query.order_by(Agent.id.desc())


def submission_rows(session: Session, boards: Boards, competition: Competition) -> list[dict[str, Any]]:
    """List the submissions to a competition for its organisers, newest first, with their scores and ranks."""
    places = {one.entry.agent_id: one for one in standings(boards.entries(session, competition), None)}
    teams = teams_by_user(session, competition.id)
    rows = []
    for agent in session.scalars(submissions_query(competition.id)):
        place, team = places.get(agent.id), teams.get(agent.user_id)
        rows.append(
            {
                "id": agent.id,
                "name": agent.name,
                "user": agent.user.name,
                "team": team.name if team else None,
                "status": agent.status,
                "message": agent.last_status_message,
                "rank": place.rank if place else None,
                "score": place.entry.mean if place else None,
                "score_ci95": place.entry.ci95 if place else None,
                "runs": len(place.entry.rewards) if place else 0,
                "is_baseline": agent.is_baseline,
                "created_at_ts": agent.created_at,
                "graded_at_ts": agent.scored_at,
            }
        )
    return rows


def rerun(services: Services, competition_id: int, agent_id: int, by: int | None) -> Rerun:
    """Evaluate a submission again, in whatever state it is. Its results until now no longer count.

    Raises:
        NotFoundError: There is no such submission to a competition of the organiser.
        RefusedError: It was never evaluated, and its files are not a valid agent.
    """
    with services.database.transaction(read_only=True) as session:
        owner_id = submission_of(session, competition_id, agent_id, by).user_id
    with services.database.transaction(by=owner_id) as session:
        agent = submission_of(session, competition_id, agent_id, by)
        open_deploys(session, agent.id)  # locks them: a worker that grades one has written before or writes nothing
        session.refresh(agent)
        dropped = len(agent.rewards) + len(agent.final_rewards)
        return Rerun(agent, service.rerun(session, agent, services, by).id, dropped)


def rerun_all(services: Services, competition_id: int, by: int | None) -> Reruns:
    """Evaluate every submission that was ever evaluated again. One that is refused does not keep the others.

    Raises:
        NotFoundError: The competition does not exist, or is not the organiser's.
    """
    deployed = sa.select(Deploy.id).where(Deploy.agent_id == Agent.id).exists()
    query = submissions_query(competition_id).with_only_columns(Agent.id).where(deployed).order_by(None)
    with services.database.transaction(read_only=True) as session:
        organised_competition(session, competition_id, by)
        ids = list(session.scalars(query.order_by(Agent.scored_at, Agent.id)))
    found = Reruns()
    for agent_id in ids:
        try:
            found.done.append(rerun(services, competition_id, agent_id, by))
        except ArenaError as error:
            found.refused[agent_id] = str(error)
    return found


def cancel(services: Services, competition_id: int, agent_id: int, by: int | None) -> Agent:
    """Cancel the evaluation of a submission.

    Raises:
        NotFoundError: There is no such submission to a competition of the organiser.
        RefusedError: Nothing of it is being evaluated.
    """
    with services.database.transaction() as session:
        agent = submission_of(session, competition_id, agent_id, by)
        service.cancel(session, agent, by, is_organiser=True)
        return agent


def mark_baseline(services: Services, competition_id: int, agent_id: int, is_baseline: bool, by: int | None) -> Agent:
    """Mark a submission as a baseline, or take the mark back.

    Raises:
        NotFoundError: There is no such submission to a competition of the organiser.
    """
    with services.database.transaction() as session:
        agent = submission_of(session, competition_id, agent_id, by)
        service.mark_baseline(session, agent, is_baseline, by)
        return agent


def delete(services: Services, competition_id: int, agent_id: int, by: int | None) -> Agent:
    """Delete a submission of a participant, whatever the rules say of deletion.

    Raises:
        NotFoundError: There is no such submission to a competition of the organiser.
    """
    with services.database.transaction(read_only=True) as session:
        owner_id = submission_of(session, competition_id, agent_id, by).user_id
    with services.database.transaction(by=owner_id) as session:
        agent = submission_of(session, competition_id, agent_id, by)
        service.delete(session, agent, by, is_organiser=True)
        return agent
