"""Queries for competitions."""

import sqlalchemy as sa
from sqlalchemy.orm import Session, selectinload

from ml_trainer_env.arena.errors import NotFoundError
from ml_trainer_env.arena.tables import Competition, CompetitionFile, FilePurpose, Tag

__all__ = ["competition_files", "find_competition", "list_competitions", "own_competition", "visible_competition"]

_MISSING = "there is no such competition"


def find_competition(session: Session, competition_id: int) -> Competition:
    """A competition, hidden or not.

    Raises:
        NotFoundError: There is none.
    """
    competition = session.get(Competition, competition_id, options=[selectinload(Competition.tags)])
    if competition is None:
        raise NotFoundError(_MISSING)
    return competition


def visible_competition(session: Session, competition_id: int, user_id: int | None = None) -> Competition:
    """A competition that this user, or anybody, may see.

    Raises:
        NotFoundError: There is none, or it is hidden.
    """
    competition = find_competition(session, competition_id)
    if not competition.is_public and competition.creator_id != user_id:
        raise NotFoundError(_MISSING)
    return competition


def own_competition(session: Session, competition_id: int, user_id: int) -> Competition:
    """A competition of this creator's.

    Raises:
        NotFoundError: There is none, or it is someone else's.
    """
    competition = find_competition(session, competition_id)
    if competition.creator_id != user_id:
        raise NotFoundError(_MISSING)
    return competition


def list_competitions(
    session: Session, words: str, started: bool | None, tags: list[str], page: int, per_page: int
) -> tuple[list[Competition], bool]:
    """A page of the public competitions, the newest first, and whether there are more.

    Args:
        session: A transaction.
        words: What name or description contain; anything if empty.
        started: Whether they have begun; either if None.
        tags: Names of tags that all of them have.
        page: From 1.
        per_page: How many a page.
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
    """Files of a competition, by name."""
    query = sa.select(CompetitionFile).where(
        CompetitionFile.competition_id == competition_id, CompetitionFile.purpose == purpose
    )
    return list(session.scalars(query.order_by(CompetitionFile.name)))
