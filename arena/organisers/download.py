"""All submissions to a competition as one zip archive: their files, and a table of their scores.

The archive is written while it is sent, so its size costs neither memory nor disk. Files are stored in folders that
have the numbers of their submissions, so that no name of a user or a submission becomes a path.
"""

import csv
import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from ml_trainer_env.arena.files.blobs import Blobs
from ml_trainer_env.arena.leaderboard.cache import Boards
from ml_trainer_env.arena.organisers.service import submission_rows, submissions_query
from ml_trainer_env.arena.submissions.repository import agent_files, latest_deploy
from ml_trainer_env.arena.tables import Competition

__all__ = ["Collection", "collect", "pack"]

TABLE = "submissions.csv"
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Collection:
    """What the archive will have.

    Attributes:
        table: Content of the file `submissions.csv`.
        files: Path in the archive and SHA-256 of each other file.
    """

    table: str
    files: Sequence[tuple[str, str]]


def collect(session: Session, boards: Boards, competition: Competition) -> Collection:
    """Find the files of all submissions: those that were evaluated last, or the current ones without an evaluation."""
    rows = submission_rows(session, boards, competition)
    files: list[tuple[str, str]] = []
    for agent in session.scalars(submissions_query(competition.id)):
        last = latest_deploy(session, agent.id)
        own = dict(last.files) if last else {one.name: one.sha256 for one in agent_files(session, agent.id)}
        files += [(f"{agent.id}/{path}", sha256) for path, sha256 in sorted(own.items())]
    return Collection(_table(rows), files)


def pack(collection: Collection, blobs: Blobs) -> Iterator[bytes]:
    """Write the archive. Yields its bytes."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # it reads no position: `_Pipe` cannot seek
        archive.writestr(TABLE, collection.table)
        for path, sha256 in collection.files:
            with blobs.open(sha256) as source, archive.open(path, "w", force_zip64=True) as target:
                while chunk := source.read(_CHUNK):
                    target.write(chunk)
                    yield pipe.take()
            yield pipe.take()
    yield pipe.take()


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """Write rows as CSV. No cell begins like a formula: names begin with a letter or a digit."""
    text = io.StringIO()
    names = [name for name in rows[0] if name != "message"] if rows else ["id"]
    writer = csv.DictWriter(text, names, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


class _Pipe(io.RawIOBase):
    """A stream to write to. What was written is taken out again."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        found, self._parts = b"".join(self._parts), []
        return found
