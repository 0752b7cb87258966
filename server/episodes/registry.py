"""The book of episodes: begins them, brings them back, and forks them."""

import asyncio
import re
import uuid
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from ml_trainer_env.server.datasets import DataSettings, TaskImages, load_images
from ml_trainer_env.server.episodes.errors import ReplayError, ResetError
from ml_trainer_env.server.episodes.open_episode import OpenEpisode
from ml_trainer_env.server.episodes.replay import cut, replayed
from ml_trainer_env.server.episodes.units import UnitSource
from ml_trainer_env.server.executors.contract import ExecutorError
from ml_trainer_env.server.operations.metrics import Telemetry
from ml_trainer_env.server.store import (
    CallRecord,
    DamagedError,
    EpisodeHeader,
    Journal,
    NameTakenError,
    NoSuchEpisodeError,
    Ownership,
)
from ml_trainer_env.server.trainer.limits import Limit, check_choice, check_flag, shown
from ml_trainer_env.server.tuning.episode import Episode, TimeLimits
from ml_trainer_env.server.tuning.grading import RubricVersion
from ml_trainer_env.server.tuning.rules import CURRENT_RULES, RULES, Rules
from ml_trainer_env.server.tuning.tasks import Task, UnknownTaskError, find_task

__all__ = ["EpisodeBook", "EpisodeRequest"]

_SEED = Limit(0, 2**63 - 1, whole=True)
_DEFAULT_TASK = "easy_mnist"
_NAME = re.compile(r"[^\s@/\\][^@\n]{0,127}")


@dataclass(frozen=True, slots=True)
class EpisodeRequest:
    """What a reset asks for; values as they came, None for those left out.

    Attributes:
        task_id: Which task; `easy_mnist` if None.
        seed: Fixes initial weights, shuffling, augmentation, dropout and the permutation of a task that has
            one; the task's own if None.
        episode_id: Its name; a new one if None.
        rubric: v1 or v2; the server's default if None.
        resume: Whether to go on with the episode of that name.
        fork_from: "<episode>", "<episode>@<checkpoint>" or "<episode>@<epoch>" to begin from.
    """

    task_id: object = None
    seed: object = None
    episode_id: object = None
    rubric: object = None
    resume: object = None
    fork_from: object = None


class EpisodeBook:
    """Opens episodes for the sessions of a server.

    Args:
        source: Gives them their units of work.
        journal: Where they are written down.
        data: Where images come from.
        limits: How long a call may take.
        rubric: The rubric of an episode that names none.
        telemetry: Measures calls.
    """

    def __init__(
        self,
        *,
        source: UnitSource,
        journal: Journal,
        data: DataSettings,
        limits: TimeLimits,
        rubric: RubricVersion = RubricVersion.V1,
        telemetry: Telemetry,
    ) -> None:
        self.limits = limits
        self._source = source
        self._journal = journal
        self._data = data
        self._rubric = rubric
        self._telemetry = telemetry
        self._played: WeakValueDictionary[str, OpenEpisode] = WeakValueDictionary()
        self._resuming: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def played(self) -> int:
        """How many episodes sessions have open."""
        return sum(not played.is_gone for played in tuple(self._played.values()))

    async def open(self, request: EpisodeRequest) -> OpenEpisode:
        """Begin an episode, go on with one, or fork one.

        Raises:
            ResetError: The request names something there is not.
            DatasetError: The task's images cannot be had.
            StoreError: The journal cannot be read or written.
        """
        try:
            if check_flag("resume", False if request.resume is None else request.resume):
                opened = await self._resume(request)
            elif request.fork_from is not None:
                opened = await self._fork(request)
            else:
                opened = await self._begin(request)
        except (NoSuchEpisodeError, NameTakenError, DamagedError, ReplayError, ExecutorError) as error:
            raise ResetError(str(error)) from error
        except ResetError:
            raise
        except ValueError as error:
            raise ResetError(str(error)) from error
        self._played[opened.header.name] = opened
        return opened

    async def _begin(self, request: EpisodeRequest) -> OpenEpisode:
        task = _task(_DEFAULT_TASK if request.task_id is None else request.task_id)
        images = await self._images(task)
        chosen = self._rubric if request.rubric is None else request.rubric
        header = EpisodeHeader(
            name=_new_name(request.episode_id),
            task=task.id,
            seed=task.seed if request.seed is None else int(_SEED.check("seed", request.seed)),
            rubric=check_choice("rubric", chosen, tuple(RubricVersion)),
            data=images.checksum,
            versions=(await self._source.identity()).facts,
            rules=CURRENT_RULES.version,
        )
        episode = self._episode(header, task, images)
        return self._opened(episode, header, (), await self._begun(header))

    async def _resume(self, request: EpisodeRequest) -> OpenEpisode:
        name = request.episode_id
        if not isinstance(name, str):
            raise ResetError(f"resume needs the episode_id of the episode to go on with, got {shown(name)}")
        # One after the other: whoever resumes next must find, and stop, the session that has the episode now.
        async with self._resuming.setdefault(name, asyncio.Lock()):
            opened = self._played[name] = await self._resume_alone(request, name)
            return opened

    async def _resume_alone(self, request: EpisodeRequest, name: str) -> OpenEpisode:
        if (played := self._played.get(name)) is not None:
            await played.retire("another session goes on with it")
        journaled = await self._journal.load(name)
        _require_same(request, journaled.header)
        ownership, journaled = await self._journal.take_over(name)
        try:
            episode = await self.blank(journaled.header)
            await replayed(episode, journaled.calls)
        except BaseException:
            self._journal.release(ownership)
            raise
        return self._opened(episode, journaled.header, journaled.calls, ownership, resumed=True)

    async def _fork(self, request: EpisodeRequest) -> OpenEpisode:
        if not isinstance(request.fork_from, str):
            raise ResetError(f"fork_from must be <episode> or <episode>@<place>, got {shown(request.fork_from)}")
        parent, _, place = request.fork_from.partition("@")
        journaled = await self._journal.load(parent)
        _require_same(request, journaled.header)
        try:
            calls = cut(journaled.calls, place or None)
        except LookupError as error:
            raise ResetError(f"episode {shown(parent)} cannot be forked at {shown(place)}: {error}") from error
        header = replace(
            journaled.header,
            name=_new_name(request.episode_id),
            versions=(await self._source.identity()).facts,
            forked_from=request.fork_from,
        )
        episode = await self.blank(header)
        replies = await replayed(episode, calls)
        inherited = tuple(
            replace(call, reply=reply, inherited=True) for call, reply in zip(calls, replies, strict=True)
        )
        return self._opened(episode, header, inherited, await self._begun(header, inherited))

    async def _begun(self, header: EpisodeHeader, inherited: tuple[CallRecord, ...] = ()) -> Ownership:
        """Write down a new episode. If whoever asked for it goes away meanwhile, nobody holds it."""
        writing = asyncio.ensure_future(self._journal.begin(header, inherited))

        def let_go(written: asyncio.Future[Ownership]) -> None:
            if not written.cancelled() and written.exception() is None:
                self._journal.release(written.result())

        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            writing.add_done_callback(let_go)
            raise

    async def blank(self, header: EpisodeHeader) -> Episode:
        """An episode that has just begun, outside the journal.

        Raises:
            ResetError: This server has other images than it was played on, or does not know its rules.
            DatasetError: The task's images cannot be had.
        """
        task = _task(header.task)
        return self._episode(header, task, await self._images(task, header.data))

    def _episode(self, header: EpisodeHeader, task: Task, images: TaskImages) -> Episode:
        return Episode(
            episode_id=header.name,
            task=task,
            images=images,
            seed=header.seed,
            rubric=RubricVersion(header.rubric),
            rules=_rules(header),
            source=self._source,
            limits=self.limits,
        )

    def _opened(
        self,
        episode: Episode,
        header: EpisodeHeader,
        calls: tuple[CallRecord, ...],
        ownership: Ownership,
        resumed: bool = False,
    ) -> OpenEpisode:
        return OpenEpisode(episode, header, calls, self._journal, ownership, self._telemetry, resumed)

    async def _images(self, task: Task, checksum: str | None = None) -> TaskImages:
        # Reading or drawing images takes up to seconds: not on the event loop.
        images = await asyncio.to_thread(load_images, task.images, self._data)
        if checksum is not None and images.checksum != checksum:
            raise ResetError(
                f"the episode was played on other images ({checksum[:12]}) than this server has for {task.id} "
                f"({images.checksum[:12]}, {images.source}): see ML_TRAINER_DATA_DIR"
            )
        return images


def _task(task_id: object) -> Task:
    try:
        return find_task(task_id)
    except UnknownTaskError as error:
        raise ResetError(str(error)) from error


def _rules(header: EpisodeHeader) -> Rules:
    if header.rules not in RULES:
        raise ResetError(
            f"episode {header.name!r} was begun under rules {header.rules}, and this version knows "
            f"{', '.join(map(str, RULES))}: a newer version of the program is needed"
        )
    return RULES[header.rules]


def _new_name(episode_id: object) -> str:
    if episode_id is None:
        return str(uuid.uuid4())
    if isinstance(episode_id, str) and _NAME.fullmatch(episode_id) and episode_id.isprintable():
        return episode_id
    raise ResetError(f"episode_id must be 1 to 128 printable characters without @, got {shown(episode_id)}")


def _require_same(request: EpisodeRequest, header: EpisodeHeader) -> None:
    """An episode that goes on keeps what it began with; naming it again is fine, changing it is not."""
    for option, asked, fixed in (
        ("task_id", request.task_id, header.task),
        ("seed", request.seed, header.seed),
        ("rubric", request.rubric, header.rubric),
    ):
        if asked is not None and asked != fixed:
            raise ResetError(f"{option} of episode {header.name!r} is {fixed}, and cannot become {shown(asked)}")
