"""Queries for competitions."""

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from ml_trainer_env.arena.errors import NotFoundError
from ml_trainer_env.arena.tables import (
    Competition,
    CompetitionAssistant,
    CompetitionFile,
    Course,
    CourseAssistant,
    CourseModule,
    Enrollment,
    FilePurpose,
    Module,
    ModuleChallenge,
    Tag,
)

__all__ = [
    "can_edit",
    "can_see",
    "competition_files",
    "find_competition",
    "list_competitions",
    "own_competition",
    "visible_competition",
    "visible_to",
]

_MISSING = "there is no such competition"


def find_competition(session: Session, competition_id: int) -> Competition:
    """Get a competition, hidden or not.

    Raises:
        NotFoundError: It does not exist.
    """
    competition = session.get(Competition, competition_id, options=[selectinload(Competition.tags)])
    if competition is None:
        raise NotFoundError(_MISSING)
    return competition


def visible_competition(session: Session, competition_id: int, user_id: int | None = None) -> Competition:
    """Get a competition that this user may see. Without a user, it must be public.

    Raises:
        NotFoundError: It does not exist or is hidden.
    """
    competition = find_competition(session, competition_id)
    if not can_see(session, competition, user_id):
        raise NotFoundError(_MISSING)
    return competition


def can_edit(session: Session, competition: Competition, user_id: int | None) -> bool:
    """Whether a user is the creator of a competition or one of its assistants."""
    if user_id is None or competition.creator_id == user_id:
        return user_id is not None
    return session.get(CompetitionAssistant, (competition.id, user_id)) is not None


def can_see(session: Session, competition: Competition, user_id: int | None) -> bool:
    """Whether a user may see a competition. Without a user, it must be public."""
    if competition.is_public or user_id is None:
        return competition.is_public
    return session.scalar(sa.select(visible_to(user_id)).where(Competition.id == competition.id)) or False


def visible_to(user_id: int | None) -> sa.ColumnElement[bool]:
    """Condition for the competitions that a user may see.

    These are public ones, those the user may edit, and those of a published module of a course in which the user
    learns or teaches, if the module's owner may edit the competition. (Otherwise a teacher could show others a
    competition that its creator has hidden.)
    """
    if user_id is None:
        return Competition.is_public.is_(True)
    assists = sa.select(CompetitionAssistant.competition_id).where(CompetitionAssistant.user_id == user_id)
    enrolled = sa.select(Enrollment.course_id).where(Enrollment.user_id == user_id)
    helps = sa.select(CourseAssistant.course_id).where(CourseAssistant.user_id == user_id)
    editor = sa.select(CompetitionAssistant.competition_id).where(CompetitionAssistant.user_id == Module.owner_id)
    taught = (
        sa.select(ModuleChallenge.competition_id)
        .join(Module, Module.id == ModuleChallenge.module_id)
        .join(CourseModule, CourseModule.module_id == Module.id)
        .join(Course, Course.id == CourseModule.course_id)
        .where(
            Module.is_published,
            sa.or_(Course.teacher_id == user_id, Course.id.in_(enrolled), Course.id.in_(helps)),
            sa.or_(Module.owner_id == Competition.creator_id, Competition.id.in_(editor)),
        )
        .correlate(Competition)
    )
    return sa.or_(
        Competition.is_public,
        Competition.creator_id == user_id,
        Competition.id.in_(assists),
        Competition.id.in_(taught),
    )


def own_competition(session: Session, competition_id: int, user_id: int) -> Competition:
    """Get a competition that this user may edit: the creator, or an assistant.

    Raises:
        NotFoundError: It does not exist, or the user may not edit it.
    """
    competition = find_competition(session, competition_id)
    if not can_edit(session, competition, user_id):
        raise NotFoundError(_MISSING)
    return competition


def list_competitions(
    session: Session,
    words: str,
    started: bool | None,
    tags: list[str],
    page: int,
    per_page: int,
    user_id: int | None = None,
) -> tuple[list[Competition], bool]:
    """List one page of the competitions that a user may see, newest first. Also returns whether another page follows.

    Args:
        session: A transaction.
        words: Text that the name or the description contains; empty for all.
        started: Whether they have started; None for both.
        tags: Names of tags. A competition must have all of them.
        page: Page number, from 1.
        per_page: Competitions a page.
        user_id: The user; None for the public competitions.
    """
    query = sa.select(Competition).where(visible_to(user_id)).options(selectinload(Competition.tags))
    if words:
        query = query.where(
            Competition.name.icontains(words, autoescape=True)
            | Competition.description.icontains(words, autoescape=True)
        )
    if started is not None:
        query = query.where(Competition.is_started == started)
    for tag in tags:
        query = query.where(Competition.tags.any(Tag.name == tag))
    query = query.order_by(Competition.id.desc()).limit(per_page + 1).offset((page - 1) * per_page)
    found = list(session.scalars(query))
    return found[:per_page], len(found) > per_page


def competition_files(session: Session, competition_id: int, purpose: FilePurpose) -> list[CompetitionFile]:
    """List the files of a competition, sorted by name."""
    query = sa.select(CompetitionFile).where(
        CompetitionFile.competition_id == competition_id, CompetitionFile.purpose == purpose
    )
    return list(session.scalars(query.order_by(CompetitionFile.name)))
