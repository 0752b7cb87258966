"""Moves episodes out of a journal and into it.

An export takes the episode away from whoever plays it, and the journal refuses to go on with it. The one who imports
the file goes on. A file may be imported into the journal that it came from, with the calls that were added elsewhere.
"""

import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ml_trainer_env.errors import MLTrainerError
from ml_trainer_env.server.store.database import Database
from ml_trainer_env.server.store.episode_file import EpisodeFile, call_to_text
from ml_trainer_env.server.store.journal import NameTakenError, insert_episode, load_episode, lock_episode
from ml_trainer_env.server.store.ranked import is_ranked_name
from ml_trainer_env.server.store.records import JournaledEpisode
from ml_trainer_env.server.store.rows import call_to_row, header_to_row
from ml_trainer_env.server.store.tables import CALLS, EPISODES, EXPORTS, HOLDS, WITHHELD
from ml_trainer_env.server.trainer.limits import shown

__all__ = ["EpisodeExports", "ExportError"]


class ExportError(MLTrainerError):
    """An episode cannot be exported or imported. The message says why and what to do."""


class EpisodeExports:
    """Exports and imports of a journal.

    Args:
        database: Database of the journal.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def require_exportable(self, name: str) -> None:
        """Check that an episode can be exported. Raises as `export`."""
        await self._database.read(lambda connection: _exportable(connection, name))

    async def export(self, name: str) -> tuple[EpisodeFile, Sequence[str]]:
        """Take an episode out of the journal. Sessions that play it lose it; their running calls do not count.

        The rows stay, so an export can be repeated.

        Returns:
            The content of the file, without states, and the keys of the states that the episode may continue from.

        Raises:
            NoSuchEpisodeError: No episode has that name.
            ExportError: The episode belongs to a ranked run.
            StoreError: The journal cannot be read or written.
        """

        def write(connection: sa.Connection) -> tuple[EpisodeFile, Sequence[str]]:
            lock_episode(connection, name)
            row_id, episode = _exportable(connection, name)
            ours = EPISODES.c.id == row_id
            connection.execute(sa.update(EPISODES).where(ours).values(owner=uuid.uuid4().hex))
            connection.execute(sa.delete(HOLDS).where(HOLDS.c.episode == row_id))
            connection.execute(sa.delete(EXPORTS).where(EXPORTS.c.episode == row_id))
            connection.execute(sa.insert(EXPORTS).values(episode=row_id, at=time.time()))
            row = connection.execute(sa.select(EPISODES.c.begun_at, EPISODES.c.needed).where(ours)).one()
            return EpisodeFile(episode, row.begun_at), row.needed

        return await self._database.write(write)

    async def import_(self, file: EpisodeFile, needed: Sequence[str]) -> None:
        """Record an episode of a file. Any session may then resume it.

        Args:
            file: The file. Its states are not stored.
            needed: Keys of the states that the episode may continue from.

        Raises:
            ExportError: The journal has an episode of that name that was not exported, or that the file does not
                continue.
            StoreError: The journal cannot be written.
        """

        def write(connection: sa.Connection) -> None:
            name = file.episode.header.name
            if is_ranked_name(connection, name):
                raise ExportError(f"there is an episode {shown(name)} of a ranked run")
            fields = _episode_fields(file, needed)
            row_id = lock_episode(connection, name)
            if row_id is None:
                try:
                    row_id = insert_episode(connection, {**header_to_row(file.episode.header), **fields})
                except NameTakenError as error:
                    raise ExportError(str(error)) from error
                known = 0
            else:
                known = _known_calls(connection, row_id, file.episode)
                connection.execute(sa.update(EPISODES).where(EPISODES.c.id == row_id).values(fields))
                connection.execute(sa.delete(EXPORTS).where(EXPORTS.c.episode == row_id))
            _insert_calls(connection, row_id, file.episode, known)

        await self._database.write(write)


def _exportable(connection: sa.Connection, name: str) -> tuple[int, JournaledEpisode]:
    row_id, episode = load_episode(connection, name)
    if is_ranked_name(connection, name):
        raise ExportError(f"episode {shown(name)} belongs to a ranked run, whose episodes stay on their server")
    return row_id, episode


def _episode_fields(file: EpisodeFile, needed: Sequence[str]) -> dict[str, Any]:
    """Return the columns of an episode that follow from its calls. A new owner fences every earlier one."""
    calls = file.episode.calls
    end = next((call.reply for call in calls if call.reply is not None and call.reply.get("done")), None)
    return {
        "owner": uuid.uuid4().hex,
        "begun_at": file.begun_at,
        "called_at": max((call.at for call in calls), default=file.begun_at),
        "epochs": sum(len(call.units) for call in calls),
        "done": end is not None,
        "score": None if end is None else end.get("score"),
        "needed": list(needed),
    }


def _known_calls(connection: sa.Connection, row_id: int, episode: JournaledEpisode) -> int:
    """Return the number of the file's calls that the journal has. Raises ExportError if the file does not go on."""
    name = episode.header.name
    if connection.execute(sa.select(EXPORTS.c.at).where(EXPORTS.c.episode == row_id)).first() is None:
        raise ExportError(
            f"there is an episode {shown(name)} in this journal that was not exported; resume it, or export it first"
        )
    _, known = load_episode(connection, name)
    if _header_text(known) != _header_text(episode):
        raise ExportError(f"there is another episode {shown(name)} in this journal, which began otherwise")
    for number, call in enumerate(known.calls, 1):
        if number > len(episode.calls):
            raise ExportError(
                f"the file of episode {shown(name)} ends after call {number - 1}, and this journal has "
                f"{len(known.calls)} calls: the file is older"
            )
        if call_to_text(call) != call_to_text(episode.calls[number - 1]):
            raise ExportError(f"the file of episode {shown(name)} differs from this journal in call {number}")
    return len(known.calls)


def _header_text(episode: JournaledEpisode) -> str:
    return json.dumps(header_to_row(episode.header), sort_keys=True)


def _insert_calls(connection: sa.Connection, row_id: int, episode: JournaledEpisode, after: int) -> None:
    """Record the calls after call number `after`."""
    for number, call in enumerate(episode.calls[after:], after + 1):
        connection.execute(sa.insert(CALLS).values(call_to_row(row_id, number, call)))
        if call.withheld is not None:
            row = {"episode": row_id, "number": number, "figures": dict(call.withheld)}
            connection.execute(sa.insert(WITHHELD).values(row))
