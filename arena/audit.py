"""The audit log: who did what, when."""

import logging

from sqlalchemy.orm import Session

from ml_trainer_env.arena.tables import AuditEntry

__all__ = ["record"]

_LOG = logging.getLogger(__name__)


def record(session: Session, user_id: int | None, action: str, subject: str) -> None:
    """Note a deed, in the transaction that does it. No secrets: the log is for reading."""
    session.add(AuditEntry(user_id=user_id, action=action, subject=subject[:200]))
    _LOG.info("%s %s by user %s", action, subject, user_id)
