"""Reads the journal for observers. A few readers at a time, in threads, so that agents' calls never wait for them."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa

from ml_trainer_env.errors import MLTrainerError
from ml_trainer_env.server.episodes.game import Episode
from ml_trainer_env.server.episodes.open_episode import OpenEpisode
from ml_trainer_env.server.episodes.registry import EpisodeRegistry
from ml_trainer_env.server.room.observed import (
    columns,
    is_over,
    observed_call,
    observed_header,
    observed_insight,
    observed_live,
    observed_summary,
    observed_view,
    visible_units,
)
from ml_trainer_env.server.room.views import Views
from ml_trainer_env.server.store import DamagedEpisode, Database, JournaledEpisode
from ml_trainer_env.server.store.search import Place, Search, find_episodes, find_forks, load_recording

__all__ = ["Archive"]

_LOG = logging.getLogger(__name__)

Result = TypeVar("Result")

READERS = 2
"""Reads at a time. The journal has five connections, and calls of agents need some of them."""

_MAX_FORKS = 50
_NO_CALLS = 2**31
"""No episode has so many calls."""


class Archive:
    """The episodes of a server, as observers may see them.

    Args:
        database: Database of the journal.
        registries: Know which episodes are open.
        views: What may be seen of each game.
    """

    def __init__(self, database: Database, registries: tuple[EpisodeRegistry, ...], views: Views) -> None:
        self._database = database
        self._registries = registries
        self.views = views
        self._turn = asyncio.Semaphore(READERS)

    def find_open(self, name: str) -> OpenEpisode | None:
        """Return the open episode of a name. None if no session of this server has it open."""
        found = (registry.find_open(name) for registry in self._registries)
        return next((opened for opened in found if opened is not None), None)

    def opened(self) -> list[OpenEpisode]:
        """Return all open episodes."""
        return [opened for registry in self._registries for opened in registry.opened()]

    async def search(self, search: Search) -> tuple[list[dict[str, Any]], Place | None]:
        """Return a page of episodes, and the place where the next one begins.

        Raises:
            StoreError: The journal cannot be read.
        """
        opened = {one.header.name for one in self.opened()}

        def read(connection: sa.Connection) -> tuple[list[dict[str, Any]], Place | None]:
            page = find_episodes(connection, search)
            rows = [
                observed_summary(
                    one,
                    self.views.of_task("" if isinstance(one, DamagedEpisode) else one.task),
                    one.name in opened,
                )
                for one in page.episodes
            ]
            return rows, page.next

        return await self._read(read)

    async def facts(self, name: str) -> dict[str, Any]:
        """Return what may be seen of an episode, without its calls and figures.

        Raises:
            NoSuchEpisodeError: No episode has that name.
            StoreError: The journal cannot be read.
        """
        is_open = self.find_open(name) is not None
        return await self._read(lambda connection: self._facts(connection, name, is_open, _NO_CALLS)[0])

    async def recording(self, name: str) -> dict[str, Any]:
        """Return what may be seen of an episode, without its figures.

        Raises:
            NoSuchEpisodeError: No episode has that name.
            StoreError: The journal cannot be read.
        """
        facts, journaled = await self._load(name)
        return {**facts, "calls": await asyncio.to_thread(_observed_calls, journaled)}

    async def episode(self, name: str) -> dict[str, Any]:
        """Return all that may be seen of an episode.

        Raises:
            NoSuchEpisodeError: No episode has that name.
            StoreError: The journal cannot be read.
        """
        opened = self.find_open(name)
        facts, journaled = await self._load(name)
        view = self.views.of_task(journaled.header.task)
        calls = await asyncio.to_thread(_observed_calls, journaled)
        episode = None if opened is None else opened.episode
        if episode is None and view.insight is not None:
            episode = await self._with_turn(self._replay, journaled)
        over, units = is_over(journaled.calls), [unit.figures for call in journaled.calls for unit in call.units]
        limit = visible_units(view, journaled.header, episode, len(units), over)
        seen = [(unit.figures, unit.seconds) for unit in units[:limit]]
        rows = await self._with_turn(columns, view, seen, episode)
        insight = observed_insight(view, episode, over)
        return {**facts, "calls": calls, "rows": rows, **insight, "live": self.live(opened)}

    def live(self, opened: OpenEpisode | None) -> dict[str, Any] | None:
        """Return where an open episode stands. None for none."""
        return None if opened is None else observed_live(opened, self.views.of_task(opened.header.task))

    async def calls_after(self, opened: OpenEpisode, number: int) -> list[dict[str, Any]]:
        """Return the recorded calls of an open episode after call `number`.

        Raises:
            StoreError: The journal cannot be read.
        """

        def read(connection: sa.Connection) -> list[dict[str, Any]]:
            _, journaled = load_recording(connection, opened.header.name, number)
            over = is_over(journaled.calls)
            return [observed_call(place, call, over) for place, call in enumerate(journaled.calls, number + 1)]

        return await self._read(read)

    def columns_after(self, opened: OpenEpisode, unit: int) -> tuple[int, dict[str, list[Any]]]:
        """Return how many units of an open episode may be seen, and the figures of those after unit `unit`."""
        episode, view = opened.episode, self.views.of_task(opened.header.task)
        count = visible_units(view, opened.header, episode, len(episode.units), episode.done)
        fresh = episode.units[unit:count]
        return count, columns(view, ((one.figures, one.seconds) for one in fresh), episode, unit)

    def insight(self, opened: OpenEpisode) -> dict[str, Any] | None:
        """Return what happened besides the units of an open episode. None where the game tells no such thing."""
        view, episode = self.views.of_task(opened.header.task), opened.episode
        return None if view.insight is None else observed_insight(view, episode, episode.done)

    def _replay(self, journaled: JournaledEpisode) -> Episode | None:
        """Replay an episode with its recorded units, in this thread. None if this program comes to other replies."""
        registry = next((one for one in self._registries if one.game.knows_task(journaled.header.task)), None)
        if registry is None:
            return None
        try:
            return asyncio.run(registry.replay(journaled))
        except (MLTrainerError, ValueError) as error:
            _LOG.info("episode %s is shown without what a replay tells: %s", journaled.header.name, error)
            return None

    async def _load(self, name: str) -> tuple[dict[str, Any], JournaledEpisode]:
        is_open = self.find_open(name) is not None
        return await self._read(lambda connection: self._facts(connection, name, is_open, after=0))

    def _facts(
        self, connection: sa.Connection, name: str, is_open: bool, after: int
    ) -> tuple[dict[str, Any], JournaledEpisode]:
        summary, journaled = load_recording(connection, name, after)
        view = self.views.of_task(journaled.header.task)
        listed = observed_summary(summary, view, is_open)
        forks = [{"name": fork, "from": place} for fork, place in find_forks(connection, name, _MAX_FORKS)]
        facts = {**listed, **observed_header(journaled.header)}
        return {"episode": facts, "view": observed_view(view), "forks": forks}, journaled

    async def _read(self, work: Callable[[sa.Connection], Result]) -> Result:
        async with self._turn:
            return await self._database.read(work)

    async def _with_turn(self, work: Callable[..., Result], *arguments: Any) -> Result:
        async with self._turn:
            return await asyncio.to_thread(work, *arguments)


def _observed_calls(journaled: JournaledEpisode) -> list[dict[str, Any]]:
    over = is_over(journaled.calls)
    return [observed_call(number, call, over) for number, call in enumerate(journaled.calls, 1)]
