"""Removes unreferenced files: uploads that were replaced before any evaluation used them."""

import time
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.orm import Session

from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.tables import (
    AgentFile,
    Competition,
    CompetitionFile,
    Course,
    DatasetFile,
    Deploy,
    LessonMedia,
    Run,
)

__all__ = ["sweep"]

YOUNG_S = 24 * 3600.0
"""Younger files are kept, because a running upload may be about to refer to them."""


def sweep(services: Services) -> int:
    """Remove unreferenced files. Returns their number."""
    before = time.time() - YOUNG_S
    with services.database.transaction(read_only=True) as session:
        referenced = {digest for digest in _referenced(session) if digest is not None}
    return services.blobs.keep_only(referenced, before)


def _referenced(session: Session) -> Iterator[str | None]:
    kept = AgentFile.sha256, CompetitionFile.sha256, DatasetFile.sha256, LessonMedia.sha256
    for column in (*kept, Competition.image_sha256, Course.cover_sha256, Run.log_sha256):
        yield from session.scalars(sa.select(column).distinct())
    for files in session.scalars(sa.select(Deploy.files)):
        yield from files.values()
