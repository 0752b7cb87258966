"""Moves live episodes from server to server: export to a file, import from it.

The file has the journal's record of the episode and, if wanted, its states. The importer carries the calls out again,
as for a resume. So a file that cannot go on with equal bits is refused before anything is recorded.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from safetensors import SafetensorError

from ml_trainer_env.errors import MLTrainerError
from ml_trainer_env.server.episodes.errors import ReplayError, ResetError
from ml_trainer_env.server.episodes.game import Episode
from ml_trainer_env.server.episodes.names import check_agent_name, check_episode_name
from ml_trainer_env.server.episodes.recorded import VerifyingSource
from ml_trainer_env.server.episodes.registry import EpisodeRegistry, last_identity
from ml_trainer_env.server.episodes.replay import replay_calls
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.store import (
    EpisodeExports,
    EpisodeHeader,
    ExportError,
    JournaledEpisode,
    StateStore,
    StoreError,
)
from ml_trainer_env.server.store.episode_file import EpisodeFile, EpisodeFileError, pack_file, unpack_file
from ml_trainer_env.server.store.states import pack_state, unpack_state
from ml_trainer_env.server.trainer.arrays import State
from ml_trainer_env.server.trainer.limits import shown

__all__ = ["EpisodeTransfer"]

_LOG = logging.getLogger(__name__)


class EpisodeTransfer:
    """Exports and imports the episodes of a server.

    Args:
        registries: The registries of all games.
        exports: Exports and imports of the journal.
        states: The stored states.
    """

    def __init__(self, registries: Sequence[EpisodeRegistry], exports: EpisodeExports, states: StateStore) -> None:
        self._registries = registries
        self._exports = exports
        self._states = states

    async def export(self, name: str, with_states: bool = True) -> bytes:
        """Take an episode away from this server and return its file.

        If a session of this server plays the episode, its running call stops at the next batch and is recorded. The
        episode is refused to all sessions until its file is imported. An export can be repeated.

        Args:
            name: The episode's name.
            with_states: Whether the file has the states that the episode may continue from. Missing ones are computed
                again where they are needed.

        Raises:
            NoSuchEpisodeError: No episode has that name.
            ExportError: The episode belongs to a ranked run.
            StoreError: The journal cannot be read or written.
        """
        await self._exports.require_exportable(name)
        for registry in self._registries:
            if (opened := registry.find_open(name)) is not None:
                await opened.retire("it was exported")
        file, needed = await self._exports.export(name)
        states: dict[str, bytes] = {}
        for key in needed if with_states else ():
            if (state := await self._states.find(key)) is not None:
                states[key] = await asyncio.to_thread(pack_state, state)
        return await asyncio.to_thread(pack_file, EpisodeFile(file.episode, file.begun_at, states))

    async def import_(self, content: bytes, verify: bool = False) -> JournaledEpisode:
        """Record the episode of a file, which any session may then resume. Returns the episode.

        Args:
            content: The file.
            verify: Whether to train the recorded units again and compare them. The checksum of a file finds damage.
                This also finds figures that somebody made up, and takes as long as the units took.

        Raises:
            EpisodeFileError: The file is damaged.
            ExportError: This server cannot go on with the episode, or has an episode of that name, or `verify` has
                found a difference.
            ExecutorError: No worker can be started, so the identity of this server is unknown.
            StoreError: The journal cannot be written.
        """
        file = await asyncio.to_thread(unpack_file, content)
        states = await asyncio.to_thread(_unpack_states, file.states)
        header = file.episode.header
        registry = self._registry_of(header.task)
        _require_allowed_names(header)
        _require_identity(file.episode, await registry.identity(last_identity(file.episode)))
        episode = await _replayed(registry, file.episode)
        episode.interrupt("it is only checked")  # an episode may have work between its calls
        needed = episode.needed_keys
        if verify:
            await _require_proven(registry, file.episode)
        await self._exports.import_(file, needed)
        await self._save({key: states[key] for key in needed if key in states})
        return file.episode

    def _registry_of(self, task: str) -> EpisodeRegistry:
        for registry in self._registries:
            if registry.is_ranked:
                raise ExportError("this server is ranked: no episode is imported")
            if registry.game.knows_task(task):
                return registry
        raise ExportError(f"no game of this server has the task {shown(task)}")

    async def _save(self, states: Mapping[str, State]) -> None:
        for key, state in states.items():
            try:
                await self._states.save(key, state)
            except (OSError, StoreError) as error:
                _LOG.warning("an imported model cannot be kept and will be trained again: %s", error)


async def _replayed(registry: EpisodeRegistry, journaled: JournaledEpisode) -> Episode:
    """Carry out the calls of a file.

    Raises:
        ExportError: A reply is another one, or this server cannot carry out the calls. Games check their own records
            less than a file needs, so every failure means that the file is wrong.
    """
    name = shown(journaled.header.name)
    try:
        return await registry.replay(journaled)
    except MLTrainerError as error:
        raise ExportError(f"episode {name} cannot go on here: {error}") from error
    except Exception as error:
        raise ExportError(f"episode {name} cannot go on here: its record is malformed: {error}") from error


async def _require_proven(registry: EpisodeRegistry, journaled: JournaledEpisode) -> None:
    """Train the units of a file again. Raises ExportError for the first difference."""
    episode = await registry.recreate(journaled.header, last_identity(journaled))
    verifier = VerifyingSource(episode.source)
    found = ""
    try:
        await replay_calls(episode, registry.game.tools, journaled.calls, verifier)
    except ReplayError as error:
        found = str(error)
    finally:
        episode.interrupt("it is only checked")
    if verifier.differences:
        first = verifier.differences[0]
        place = f"{first.figure} of {registry.game.unit} {first.epoch}"
        found = f"{place} is {shown(first.recorded)} in the file, and {shown(first.now)} here"
    if found:
        raise ExportError(f"episode {shown(journaled.header.name)} was trained again and came out different: {found}")


def _require_allowed_names(header: EpisodeHeader) -> None:
    """Check the names that clients choose, as `reset` does. Raises EpisodeFileError."""
    try:
        check_episode_name(header.name)
        check_agent_name(header.agent)
    except ResetError as error:
        raise EpisodeFileError(f"the file of the episode is malformed: {error}") from error


def _unpack_states(contents: Mapping[str, bytes]) -> dict[str, State]:
    try:
        return {key: unpack_state(content) for key, content in contents.items()}
    except (AttributeError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise EpisodeFileError(f"a model in the file of the episode is malformed: {error}") from error


def _require_identity(episode: JournaledEpisode, identity: Identity) -> None:
    """Check that this server would give the bits that the exporter would have given. Raises ExportError.

    That of the latest unit of work decides, because an episode may have been resumed under another one.
    """
    versions, recorded = episode.header.versions, last_identity(episode)
    if recorded == identity.key:
        return
    differences = "; ".join(identity.differences(versions)) or "it went on under another one than it began with"
    raise ExportError(
        f"episode {shown(episode.header.name)} was trained under another identity than this server's, and would not go "
        f"on with equal bits ({recorded[:12]} there, {identity.key[:12]} here): {differences}"
    )
