"""Removes files that nothing names: what was uploaded and replaced before it was ever evaluated."""

import time
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.tables import AgentFile, Competition, CompetitionFile, Deploy, Run

__all__ = ["sweep"]

YOUNG_S = 24 * 3600.0
"""A file that is younger may be about to be named."""


def sweep(services: Services) -> int:
    """Remove them; how many there were."""
    before = time.time() - YOUNG_S
    with services.database.transaction(read_only=True) as session:
        named = {digest for digest in _named(session) if digest is not None}
    return services.blobs.keep_only(named, before)


def _named(session: Session) -> Iterator[str | None]:
    for column in (AgentFile.sha256, CompetitionFile.sha256, Competition.image_sha256, Run.log_sha256):
        yield from session.scalars(sa.select(column).distinct())
    for files in session.scalars(sa.select(Deploy.files)):
        yield from files.values()
