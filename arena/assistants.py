"""Assistants: users who share the rights of whoever owns a challenge or a course. Who may name them, callers check."""

from typing import Annotated, Any, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from ml_trainer_env.arena.errors import NotFoundError, RefusedError
from ml_trainer_env.arena.tables import CompetitionAssistant, CourseAssistant, User

__all__ = ["Username", "add", "assistants_of", "remove"]

AssistantT = TypeVar("AssistantT", CompetitionAssistant, CourseAssistant)
Table = type[CompetitionAssistant] | type[CourseAssistant]
"""The table of the assistants of challenges, or of courses."""


class Username(BaseModel):
    """A user."""

    model_config = ConfigDict(extra="ignore")

    username: Annotated[str, Field(min_length=1, max_length=64)]


def assistants_of(session: Session, table: type[AssistantT], owned: int) -> list[tuple[AssistantT, str]]:
    """Return the assistants of a challenge or a course with their names, in the order of the names.

    Args:
        session: The session.
        table: The table of the assistants.
        owned: Id of the challenge or the course.
    """
    query = sa.select(table, User.name).join(User, User.id == table.user_id).where(_owned_by(table) == owned)
    return [(found, name) for found, name in session.execute(query.order_by(User.name))]


def add(session: Session, table: Table, owned: int, owner_id: int, username: str) -> User:
    """Make a user an assistant. Returns the user.

    Raises:
        NotFoundError: There is no such user.
        RefusedError: The user is the owner, or an assistant already.
    """
    user = session.scalar(sa.select(User).where(User.name == username))
    if user is None:
        raise NotFoundError(f"there is no user {username}")
    if user.id == owner_id or session.get(table, (owned, user.id)) is not None:
        raise RefusedError(f"{user.name} has these rights already")
    session.add(table(**{_owned_by(table).key: owned}, user_id=user.id))
    return user


def remove(session: Session, table: Table, owned: int, user_id: int) -> None:
    """Take the rights of an assistant back.

    Raises:
        NotFoundError: The user is no assistant.
    """
    found = session.get(table, (owned, user_id))
    if found is None:
        raise NotFoundError("there is no such assistant")
    session.delete(found)


def _owned_by(table: Table) -> Any:
    """Return the column with the id of the challenge or the course."""
    return CompetitionAssistant.competition_id if table is CompetitionAssistant else CourseAssistant.course_id
