"""States by key: in memory while there is room, and in safetensors files under a byte limit."""

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import tempfile
import threading
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from safetensors import SafetensorError
from safetensors.numpy import load, save
from sqlalchemy.dialects.sqlite import insert

from ml_trainer_env.server.store.database import Database, StoreError
from ml_trainer_env.server.store.tables import EPISODES, STATES
from ml_trainer_env.server.trainer.arrays import State

__all__ = ["STATES_FOLDER", "StateStore", "needed_keys", "state_path"]

_LOG = logging.getLogger(__name__)

STATES_FOLDER = "states"
"""Where the files are, beside the journal."""

MEMORY_BYTES = 256_000_000
"""States held in memory, at most."""

_ORPHAN_AGE_S = 3600.0
"""A file without a row that is older than this was left by a process that died while writing it."""

_ORDER = "order"
"""Name under which a file lists its arrays, beside the facts. The file format sorts them; their order matters."""


class StateStore:
    """Keeps states. Each of them can be made again, so the store may delete any of them.

    It deletes the least recently used ones first, and those that an unfinished episode needs after all others.

    Args:
        database: Where the files are listed, with the checksum of each.
        folder: Where the files are.
        limit_bytes: How much they may come to.

    Raises:
        StoreError: The folder cannot be used.
    """

    def __init__(self, database: Database, folder: Path, limit_bytes: int) -> None:
        self._database = database
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._memory: OrderedDict[str, State] = OrderedDict()
        self._memory_bytes = 0
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
        except OSError as error:
            raise StoreError(f"the folder {folder} of models cannot be used: {error}") from error

    async def find(self, key: str) -> State | None:
        """The state of that key, None if it is not here or its file is damaged."""
        if (held := self._held(key)) is not None:
            return held
        return await asyncio.to_thread(self._read, key)

    async def save(self, key: str, state: State) -> None:
        """Keep a state. On return its file is written and listed.

        Raises:
            StoreError: It could not be.
        """
        self.hold(key, state)
        size, digest = await asyncio.to_thread(self._write, key, state)
        if size:
            dropped = await self._database.write(lambda connection: self._list(connection, key, size, digest))
            if dropped:
                await asyncio.to_thread(self._unlink, dropped)

    def hold(self, key: str, state: State) -> None:
        """Keep a state in memory for a while."""
        with self._lock:
            if key not in self._memory:
                self._memory_bytes += state.nbytes
            self._memory[key] = state
            self._memory.move_to_end(key)
            while self._memory_bytes > MEMORY_BYTES and len(self._memory) > 1:
                _, oldest = self._memory.popitem(last=False)
                self._memory_bytes -= oldest.nbytes

    def size_bytes(self) -> int:
        """What the files come to."""
        statement = sa.select(sa.func.coalesce(sa.func.sum(STATES.c.bytes), 0))
        return int(self._database.read_now(lambda connection: connection.execute(statement).scalar_one()))

    def _held(self, key: str) -> State | None:
        with self._lock:
            if key in self._memory:
                self._memory.move_to_end(key)
            return self._memory.get(key)

    def _read(self, key: str) -> State | None:
        statement = sa.select(STATES.c.sha256).where(STATES.c.key == key)
        digest = self._database.read_now(lambda connection: connection.execute(statement).scalar_one_or_none())
        if digest is None:
            return None
        try:
            content = self._path(key).read_bytes()
            if hashlib.sha256(content).hexdigest() != digest:
                raise ValueError("its checksum is wrong")
            state = _unpacked(content)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            _LOG.warning("the kept state %s is damaged and will be trained again: %s", key, error)
            strike = sa.delete(STATES).where(STATES.c.key == key)
            self._database.submit(lambda connection: connection.execute(strike)).result()
            return None
        used = sa.update(STATES).where(STATES.c.key == key).values(used_at=time.time())
        self._database.submit(lambda connection: connection.execute(used))
        self.hold(key, state)
        return state

    def _write(self, key: str, state: State) -> tuple[int, str]:
        """Write a file, unless it is listed already. Whole or not at all: it is renamed into place.

        It is not flushed to the disk, since a loss of power is noticed by the checksum.
        """
        statement = sa.select(STATES.c.key).where(STATES.c.key == key)
        if self._database.read_now(lambda connection: connection.execute(statement).first()):
            return 0, ""
        content = _packed(state)
        path = self._path(key)
        self._folder.mkdir(exist_ok=True)
        path.parent.mkdir(exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        return len(content), hashlib.sha256(content).hexdigest()

    def _list(self, connection: sa.Connection, key: str, size: int, digest: str) -> list[str]:
        """Note a file down, and strike out others if they come to too much. Returns the keys struck out."""
        row = {"key": key, "bytes": size, "sha256": digest, "used_at": time.time()}
        connection.execute(insert(STATES).values(row).on_conflict_do_update(index_elements=["key"], set_=row))
        excess = connection.execute(sa.select(sa.func.sum(STATES.c.bytes))).scalar_one() - self._limit_bytes
        if excess <= 0:
            return []
        is_needed = STATES.c.key.in_(needed_keys())
        candidates = sa.select(STATES.c.key, STATES.c.bytes).where(STATES.c.key != key)
        dropped = []
        for candidate in connection.execute(candidates.order_by(is_needed, STATES.c.used_at)):
            if excess <= 0:
                break
            dropped.append(candidate.key)
            excess -= candidate.bytes
        connection.execute(sa.delete(STATES).where(STATES.c.key.in_(dropped)))
        return dropped

    def _unlink(self, keys: list[str]) -> None:
        for key in keys:
            self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return state_path(self._folder, key)

    def _sweep(self) -> None:
        """Remove what processes that died have left behind."""
        listed = self._database.read_now(lambda connection: set(connection.execute(sa.select(STATES.c.key)).scalars()))
        before = time.time() - _ORPHAN_AGE_S
        for path in self._folder.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stem not in listed and path.stat().st_mtime < before:
                    path.unlink()


def state_path(folder: Path, key: str) -> Path:
    """The file of a state."""
    return folder / key[:2] / f"{key}.safetensors"


def needed_keys() -> sa.Select[tuple[str]]:
    """Keys of the states that unfinished episodes stand on or keep by name."""
    # A list that is damaged counts as none: it must not keep others from being read.
    needed = sa.type_coerce(EPISODES.c.needed, sa.Text)
    sound = sa.case((sa.func.json_valid(needed) == 1, needed), else_="[]")
    listed = sa.func.json_each(sound).table_valued("value")
    return sa.select(listed.c.value).select_from(EPISODES.join(listed, sa.true())).where(~EPISODES.c.done)


def _packed(state: State) -> bytes:
    arrays = {name: np.asarray(array, order="C") for name, array in state.arrays.items()}
    content: bytes = save(arrays, metadata={**state.facts, _ORDER: "\n".join(arrays)})
    return content


def _unpacked(content: bytes) -> State:
    # The format: eight bytes with the header's length, the header as JSON, and the tensors.
    facts = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    arrays = load(content)
    names = facts.pop(_ORDER)
    return State({name: arrays[name] for name in names.split("\n")} if names else {}, facts)
