"""The list of live episodes. It is computed once for all watchers, and only for episodes that changed."""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import anyio

from ml_trainer_env.server.episodes.open_episode import OpenEpisode
from ml_trainer_env.server.room.archive import Archive
from ml_trainer_env.server.room.observed import observed_live

__all__ = ["Board", "encode", "next_tick"]

TICK_S = 1.0
"""A watcher is told of changes this often, in seconds."""

_MAX_GONE = 1000
_NOTHING = '{"episodes":[],"gone":[]}'


@dataclass(frozen=True, slots=True)
class _Row:
    opened: OpenEpisode
    count: int
    version: int
    text: str


class Board:
    """The live episodes of a server.

    Args:
        archive: Knows the open episodes.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._rows: dict[str, _Row] = {}
        self._gone: dict[str, int] = {}
        self._version = 0
        self._looked_at = float("-inf")
        self._told: dict[int, str | None] = {}

    def snapshot(self) -> str:
        """Return all live episodes as JSON."""
        self._look()
        return self._changes_since(0) or _NOTHING

    async def watch(self) -> AsyncIterator[str]:
        """Yield JSON: all live episodes first, then every second what changed, if anything did."""
        everything = self.snapshot()
        seen = self._version
        yield everything
        while True:
            await next_tick(TICK_S)
            if time.monotonic() - self._looked_at >= TICK_S / 2:
                self._look()
            changes = self._changes_since(seen)
            seen = self._version
            if changes is not None:
                yield changes

    def _look(self) -> None:
        """Compute the rows of the episodes that changed since the last look."""
        self._looked_at = time.monotonic()
        version = self._version + 1
        opened = {one.header.name: one for one in self._archive.opened()}
        has_changed = False
        for name in [name for name in self._rows if name not in opened]:
            del self._rows[name]
            self._gone[name] = version
            has_changed = True
        for name, one in opened.items():
            row = self._rows.get(name)
            if row is None or row.opened is not one or row.count != one.changes.count:
                view = self._archive.views.of_task(one.header.task)
                self._rows[name] = _Row(one, one.changes.count, version, encode(observed_live(one, view)))
                self._gone.pop(name, None)
                has_changed = True
        if has_changed:
            self._version = version
            self._told.clear()
        while len(self._gone) > _MAX_GONE:
            del self._gone[next(iter(self._gone))]

    def _changes_since(self, seen: int) -> str | None:
        """Return what changed after a version as JSON, None for nothing. Watchers who saw the same share the text."""
        if seen not in self._told:
            self._told[seen] = self._encode_changes(seen)
        return self._told[seen]

    def _encode_changes(self, seen: int) -> str | None:
        rows = [row.text for row in self._rows.values() if row.version > seen]
        gone = [name for name, version in self._gone.items() if version > seen] if seen else []
        if not rows and not gone:
            return None
        return f'{{"episodes":[{",".join(rows)}],"gone":{encode(gone)}}}'


async def next_tick(period_s: float) -> None:
    """Sleep until the next multiple of a period on the event loop's clock, so that all watchers wake it up once."""
    await anyio.sleep(period_s - anyio.current_time() % period_s)


def encode(value: Any) -> str:
    """Return JSON in ASCII, without blanks."""
    return json.dumps(value, separators=(",", ":"))
