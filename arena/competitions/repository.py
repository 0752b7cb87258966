"""Queries for competitions."""

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from ml_trainer_env.arena.errors import NotFoundError
from ml_trainer_env.arena.tables import Competition, CompetitionFile, FilePurpose, Tag

__all__ = ["competition_files", "find_competition", "list_competitions", "own_competition", "visible_competition"]

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
    if not competition.is_public and competition.creator_id != user_id:
        raise NotFoundError(_MISSING)
    return competition


def own_competition(session: Session, competition_id: int, user_id: int) -> Competition:
    """Get a competition of this creator.

    Raises:
        NotFoundError: It does not exist or belongs to another user.
    """
    competition = find_competition(session, competition_id)
    if competition.creator_id != user_id:
        raise NotFoundError(_MISSING)
    return competition


def list_competitions(
    session: Session, words: str, started: bool | None, tags: list[str], page: int, per_page: int
) -> tuple[list[Competition], bool]:
    """List one page of the public competitions, newest first. Also returns whether another page follows.

    Args:
        session: A transaction.
        words: Text that the name or the description contains; empty for all.
        started: Whether they have started; None for both.
        tags: Names of tags. A competition must have all of them.
        page: Page number, from 1.
        per_page: Competitions a page.
    """
    query = sa.select(Competition).where(Competition.is_public).options(selectinload(Competition.tags))
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
