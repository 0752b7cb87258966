"""The audit log: which user changed what, and when."""

import logging

from sqlalchemy.orm import Session

from ml_trainer_env.arena.tables import AuditEntry

__all__ = ["record"]

_LOG = logging.getLogger(__name__)


def record(session: Session, user_id: int | None, action: str, subject: str) -> None:
    """Record an action in the transaction that performs it. The arguments must not contain secrets."""
    session.add(AuditEntry(user_id=user_id, action=action, subject=subject[:200]))
    _LOG.info("%s %s by user %s", action, subject, user_id)
