"""Registry of episodes. Creates, resumes and forks them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from ml_trainer_env.server.episodes.errors import ReplayError, ResetError
from ml_trainer_env.server.episodes.game import BeginOptions, Episode, Game, TimeLimits
from ml_trainer_env.server.episodes.names import check_agent_name, new_episode_name
from ml_trainer_env.server.episodes.open_episode import OpenEpisode
from ml_trainer_env.server.episodes.replay import cut_calls, replay_calls
from ml_trainer_env.server.episodes.units import LiveSource
from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.executors.identity import Identity
from ml_trainer_env.server.operations.metrics import Telemetry
from ml_trainer_env.server.store import (
    CallRecord,
    DamagedError,
    EpisodeExportedError,
    EpisodeHeader,
    Journal,
    JournaledEpisode,
    NameTakenError,
    NoSuchEpisodeError,
    Ownership,
    RankedRun,
    RankedRunError,
)
from ml_trainer_env.server.trainer.limits import check_flag, shown

__all__ = ["EpisodeRegistry", "EpisodeRequest", "last_identity"]


@dataclass(frozen=True, slots=True)
class EpisodeRequest:
    """The options of a reset, not yet checked. None means that an option was omitted.

    Attributes:
        task_id: The task. None for the game's default.
        seed: Seed of all randomness. None for the task's own seed.
        episode_id: The episode's name. None for a new one.
        rubric: Name of the formulas that reward and grade. None for the server's default.
        resume: Whether to resume the episode `episode_id`.
        fork_from: Where a fork begins: "<episode>", "<episode>@<checkpoint>" or "<episode>@<epoch>".
        agent: The name of who plays, for people who watch. A resumed episode keeps its own.
    """

    task_id: object = None
    seed: object = None
    episode_id: object = None
    rubric: object = None
    resume: object = None
    fork_from: object = None
    agent: object = None


class EpisodeRegistry:
    """Opens the episodes of a game for the sessions of a server.

    Args:
        game: The game.
        source: The source of units of work.
        journal: Records episodes.
        limits: Time limits of calls and units.
        telemetry: Measures calls.
        ranked: The ranked run of this server: each task is begun once, and nothing is forked. None if it is not ranked.
        elsewhere: The other games of the server, by the prefix of their paths. They share the journal.

    Attributes:
        game: The game.
        limits: Time limits of calls and units.
    """

    def __init__(
        self,
        game: Game,
        *,
        source: LiveSource,
        journal: Journal,
        limits: TimeLimits,
        telemetry: Telemetry,
        ranked: RankedRun | None = None,
        elsewhere: Mapping[str, Game] | None = None,
    ) -> None:
        self.game = game
        self.limits = limits
        self._source = source
        self._journal = journal
        self._telemetry = telemetry
        self._ranked = ranked
        self._elsewhere = elsewhere or {}
        self._open: WeakValueDictionary[str, OpenEpisode] = WeakValueDictionary()
        self._resuming: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def is_ranked(self) -> bool:
        """Whether the server is ranked."""
        return self._ranked is not None

    @property
    def open_episodes(self) -> int:
        """Number of episodes that sessions have open."""
        return len(self.opened())

    def opened(self) -> list[OpenEpisode]:
        """Return the episodes that sessions have open."""
        return [opened for opened in tuple(self._open.values()) if not opened.is_closed]

    def find_open(self, name: str) -> OpenEpisode | None:
        """Return the open episode of a name. None if no session has it open."""
        opened = self._open.get(name)
        return None if opened is None or opened.is_closed else opened

    async def open(self, request: EpisodeRequest) -> OpenEpisode:
        """Begin, resume or fork an episode.

        Raises:
            ResetError: The request names something that does not exist.
            DatasetError: The task's data is not available.
            StoreError: The journal cannot be read or written.
        """
        try:
            if check_flag("resume", False if request.resume is None else request.resume):
                opened = await self._resume(request)
            elif request.fork_from is not None:
                opened = await self._fork(request)
            else:
                opened = await self._begin(request)
        except (
            NoSuchEpisodeError,
            EpisodeExportedError,
            NameTakenError,
            RankedRunError,
            DamagedError,
            ReplayError,
            ExecutorError,
        ) as error:
            raise ResetError(str(error)) from error
        except ResetError:
            raise
        except ValueError as error:
            raise ResetError(str(error)) from error
        self._open[opened.header.name] = opened
        return opened

    async def recreate(self, header: EpisodeHeader, identity: str | None = None) -> Episode:
        """Create the episode of a header, without its calls and outside the journal.

        Args:
            header: The header.
            identity: Key of the identity under which its units run. None for that of the first worker.

        Raises:
            ResetError: This server does not have its task, its data or its rules.
            DatasetError: The task's data is not available.
        """
        source = self._source if identity is None else self._source.of_episode(identity)
        options = BeginOptions(header.name, source, header.rubric, header.data, header.rules)
        return await self.game.begin(header.task, header.seed, options)

    async def replay(self, journaled: JournaledEpisode, identity: str | None = None) -> Episode:
        """Create an episode and carry out its recorded calls, outside the journal. Nothing is trained.

        Args:
            journaled: The episode.
            identity: As for `recreate`, if it goes on.

        Raises:
            ResetError: As for `recreate`.
            DatasetError: The task's data is not available.
            ReplayError: A reply differs from the recorded one.
        """
        episode = await self.recreate(journaled.header, identity)
        await replay_calls(episode, self.game.tools, journaled.calls)
        return episode

    async def identity(self, key: str | None = None) -> Identity:
        """Return what results of this server depend on besides their jobs. Waits until a worker is ready.

        Args:
            key: Key of an identity. If some workers have it, it is that of theirs.

        Raises:
            ExecutorError: No worker can be started.
        """
        return await (await self._source.of_identity(key)).identity()

    async def _begin(self, request: EpisodeRequest) -> OpenEpisode:
        if self._ranked is not None and request.seed is not None:
            raise ResetError(f"a ranked task draws its own seed: leave seed out, got {shown(request.seed)}")
        if isinstance(request.task_id, str):
            self._require_here(request.task_id, "task", request.task_id)
        source = self._source.of_episode()
        options = BeginOptions(new_episode_name(request.episode_id), source, request.rubric)
        episode = await self.game.begin(request.task_id, request.seed, options)
        start = episode.start
        header = EpisodeHeader(
            name=options.name,
            task=start.task,
            seed=start.seed,
            rubric=start.rubric,
            data=start.data,
            versions=(await source.identity()).facts,
            rules=start.rules,
            agent=check_agent_name(request.agent),
        )
        return self._opened(episode, header, (), await self._begun(header))

    async def _resume(self, request: EpisodeRequest) -> OpenEpisode:
        name = request.episode_id
        if not isinstance(name, str):
            raise ResetError(f"resume needs the episode_id of the episode to go on with, got {shown(name)}")
        check_agent_name(request.agent)
        # One session at a time resumes an episode. So each one finds the session before it and closes its episode.
        async with self._resuming.setdefault(name, asyncio.Lock()):
            opened = self._open[name] = await self._resume_alone(request, name)
            return opened

    async def _resume_alone(self, request: EpisodeRequest, name: str) -> OpenEpisode:
        if (opened := self._open.get(name)) is not None:
            await opened.retire("another session goes on with it")
        if self._ranked is not None:
            await self._journal.require_resumable(name, self._ranked)
        journaled = await self._journal.load(name)
        self._require_here(journaled.header.task, "episode", name)
        _require_same(request, journaled.header)
        ownership, journaled = await self._journal.take_over(name)
        try:
            episode = await self.replay(journaled, last_identity(journaled))
        except BaseException:
            self._journal.release(ownership)
            raise
        return self._opened(episode, journaled.header, journaled.calls, ownership, resumed=True)

    async def _fork(self, request: EpisodeRequest) -> OpenEpisode:
        if self._ranked is not None:
            raise ResetError("this server is ranked: nothing is forked; begin a task, or resume an episode")
        if not isinstance(request.fork_from, str):
            raise ResetError(f"fork_from must be <episode> or <episode>@<place>, got {shown(request.fork_from)}")
        parent, _, place = request.fork_from.partition("@")
        journaled = await self._journal.load(parent)
        self._require_here(journaled.header.task, "episode", parent)
        _require_same(request, journaled.header)
        try:
            calls = cut_calls(journaled.calls, place or None, self.game)
        except LookupError as error:
            raise ResetError(f"episode {shown(parent)} cannot be forked at {shown(place)}: {error}") from error
        identity = await self.identity(last_identity(replace(journaled, calls=tuple(calls))))
        header = replace(
            journaled.header,
            name=new_episode_name(request.episode_id),
            versions=identity.facts,
            forked_from=request.fork_from,
            agent=check_agent_name(request.agent),
        )
        episode = await self.recreate(header, identity.key)
        replies = await replay_calls(episode, self.game.tools, calls)
        inherited = tuple(
            replace(call, reply=reply, inherited=True) for call, reply in zip(calls, replies, strict=True)
        )
        return self._opened(episode, header, inherited, await self._begun(header, inherited))

    def _require_here(self, task: str, kind: str, name: str) -> None:
        """Check that no other game of the server knows a task. Raises ResetError for the task or episode `name`."""
        for prefix, game in self._elsewhere.items():
            if game.knows_task(task):
                raise ResetError(
                    f"{kind} {shown(name)} is of the game {game.about.name}, which this server has at {prefix}/ws and "
                    f"{prefix}/mcp; the game here is {self.game.about.name}"
                )

    async def _begun(self, header: EpisodeHeader, inherited: tuple[CallRecord, ...] = ()) -> Ownership:
        """Record a new episode. If its session ends meanwhile, the ownership is released."""
        writing = asyncio.ensure_future(self._journal.begin(header, inherited, self._ranked))

        def release(written: asyncio.Future[Ownership]) -> None:
            if not written.cancelled() and written.exception() is None:
                self._journal.release(written.result())

        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            writing.add_done_callback(release)
            raise

    def _opened(
        self,
        episode: Episode,
        header: EpisodeHeader,
        calls: tuple[CallRecord, ...],
        ownership: Ownership,
        resumed: bool = False,
    ) -> OpenEpisode:
        tools = self.game.tools
        return OpenEpisode(episode, tools, header, calls, self._journal, ownership, self._telemetry, resumed)


def last_identity(journaled: JournaledEpisode) -> str:
    """Return the key of the identity under which an episode goes on with equal bits: that of its latest unit."""
    units = [unit for call in journaled.calls for unit in call.units]
    return (units[-1].identity if units else "") or Identity(journaled.header.versions).key


def _require_same(request: EpisodeRequest, header: EpisodeHeader) -> None:
    """Check that a request does not change an episode's start. Raises ResetError. The same values are allowed."""
    for option, asked, fixed in (
        ("task_id", request.task_id, header.task),
        ("seed", request.seed, header.seed),
        ("rubric", request.rubric, header.rubric),
    ):
        if asked is not None and asked != fixed:
            raise ResetError(f"{option} of episode {header.name!r} is {fixed}, and cannot become {shown(asked)}")
