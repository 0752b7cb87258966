"""The audit log: which user changed what, and when."""

import logging
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ml_trainer_env.arena.tables import AuditEntry, User

__all__ = ["MAX_ENTRIES", "Filter", "read", "record"]

_LOG = logging.getLogger(__name__)

MAX_ENTRIES = 500
"""Entries that are read at a time."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries to read.

    Attributes:
        competition_id: Those of this competition; None for all.
        user_name: Those of this user; empty for all.
        action: Those whose action begins with this; empty for all.
        before: Those before this entry, by its id; None for the newest.
    """

    competition_id: int | None = None
    user_name: str = ""
    action: str = ""
    before: int | None = None


def record(session: Session, user_id: int | None, action: str, subject: str, competition_id: int | None = None) -> None:
    """Record an action in the transaction that performs it. The arguments must not contain secrets.

    Args:
        session: The transaction.
        user_id: Who acts; None for the operator.
        action: What is done, such as `agent.deploy`.
        subject: What it is done to.
        competition_id: The competition whose organisers may read the entry; None for the operator alone.
    """
    session.add(AuditEntry(user_id=user_id, action=action, subject=subject[:200], competition_id=competition_id))
    _LOG.info("%s %s by user %s", action, subject, user_id)


def read(session: Session, wanted: Filter, most: int = 100) -> list[dict[str, Any]]:
    """Read entries, newest first.

    Args:
        session: A transaction.
        wanted: Which ones.
        most: How many, up to MAX_ENTRIES.
    """
    query = sa.select(AuditEntry, User.name).outerjoin(User, User.id == AuditEntry.user_id)
    if wanted.competition_id is not None:
        query = query.where(AuditEntry.competition_id == wanted.competition_id)
    if wanted.user_name:
        query = query.where(User.name == wanted.user_name)
    if wanted.action:
        query = query.where(AuditEntry.action.startswith(wanted.action, autoescape=True))
    if wanted.before is not None:
        query = query.where(AuditEntry.id < wanted.before)
    found = session.execute(query.order_by(AuditEntry.id.desc()).limit(min(most, MAX_ENTRIES)))
    return [
        {"id": entry.id, "at_ts": entry.at, "user": name, "action": entry.action, "subject": entry.subject}
        for entry, name in found
    ]
