"""Stores states by key, in memory and in safetensors files. Both have size limits."""

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

from ml_trainer_env.server.store.database import Database, StoreError
from ml_trainer_env.server.store.statements import conflict_insert, needed_keys
from ml_trainer_env.server.store.tables import STATES
from ml_trainer_env.server.trainer.arrays import State

__all__ = ["STATES_FOLDER", "StateStore", "pack_state", "state_path", "unpack_state"]

_LOG = logging.getLogger(__name__)

STATES_FOLDER = "states"
"""Folder of the files, beside the journal."""

MEMORY_BYTES = 256_000_000
"""Limit for states in memory."""

_ORPHAN_AGE_S = 3600.0
"""Minimum age of a file without a row. A process that died while writing left such a file."""

_ORDER = "order"
"""Metadata key for the order of the arrays, which the file format does not keep."""


class StateStore:
    """Cache of states. A deleted state can be computed again.

    The least recently used states are deleted first. States that an unfinished episode needs are deleted last.

    Args:
        database: Records the files and their checksums.
        folder: Folder of the files.
        limit_bytes: Size limit for all files.

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
            self._delete_orphans()
        except OSError as error:
            raise StoreError(f"the folder {folder} of models cannot be used: {error}") from error

    async def find(self, key: str) -> State | None:
        """Return the state of a key, None if it is missing or its file is damaged."""
        if (state := self._find_in_memory(key)) is not None:
            return state
        return await asyncio.to_thread(self._read, key)

    async def save(self, key: str, state: State) -> None:
        """Store a state. On return its file is written and recorded.

        Raises:
            StoreError: The file cannot be recorded.
        """
        self.keep_in_memory(key, state)
        size, digest = await asyncio.to_thread(self._write, key, state)
        if size:
            dropped = await self._database.write(lambda connection: self._record_file(connection, key, size, digest))
            if dropped:
                await asyncio.to_thread(self._unlink, dropped)

    def keep_in_memory(self, key: str, state: State) -> None:
        """Cache a state in memory. The least recently used states are evicted."""
        with self._lock:
            if key not in self._memory:
                self._memory_bytes += state.nbytes
            self._memory[key] = state
            self._memory.move_to_end(key)
            while self._memory_bytes > MEMORY_BYTES and len(self._memory) > 1:
                _, oldest = self._memory.popitem(last=False)
                self._memory_bytes -= oldest.nbytes

    def total_bytes(self) -> int:
        """Return the size of all files."""
        statement = sa.select(sa.func.coalesce(sa.func.sum(STATES.c.bytes), 0))
        return int(self._database.read_now(lambda connection: connection.execute(statement).scalar_one()))

    def _find_in_memory(self, key: str) -> State | None:
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
            state = unpack_state(content)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            _LOG.warning("the kept state %s is damaged and will be trained again: %s", key, error)
            deletion = sa.delete(STATES).where(STATES.c.key == key)
            self._database.submit(lambda connection: connection.execute(deletion)).result()
            return None
        used = sa.update(STATES).where(STATES.c.key == key).values(used_at=time.time())
        self._database.submit(lambda connection: connection.execute(used))
        self.keep_in_memory(key, state)
        return state

    def _write(self, key: str, state: State) -> tuple[int, str]:
        """Write a file atomically, unless it is recorded already. Return its size and checksum; 0 and "" if unchanged.

        The file is not flushed to the disk: the checksum detects damage after a loss of power.
        """
        statement = sa.select(STATES.c.key).where(STATES.c.key == key)
        if self._database.read_now(lambda connection: connection.execute(statement).first()):
            return 0, ""
        content = pack_state(state)
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

    def _record_file(self, connection: sa.Connection, key: str, size: int, digest: str) -> list[str]:
        """Record a file. Over the size limit, delete the rows of others and return their keys."""
        row = {"key": key, "bytes": size, "sha256": digest, "used_at": time.time()}
        insertion = conflict_insert(connection, STATES).values(row)
        connection.execute(insertion.on_conflict_do_update(index_elements=["key"], set_=row))
        excess = connection.execute(sa.select(sa.func.sum(STATES.c.bytes))).scalar_one() - self._limit_bytes
        if excess <= 0:
            return []
        is_needed = STATES.c.key.in_(needed_keys(connection))
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

    def _delete_orphans(self) -> None:
        """Delete files that dead processes left."""
        listed = self._database.read_now(lambda connection: set(connection.execute(sa.select(STATES.c.key)).scalars()))
        before = time.time() - _ORPHAN_AGE_S
        for path in self._folder.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stem not in listed and path.stat().st_mtime < before:
                    path.unlink()


def state_path(folder: Path, key: str) -> Path:
    """Return the path of a state's file."""
    return folder / key[:2] / f"{key}.safetensors"


def pack_state(state: State) -> bytes:
    """Return a state as the content of a safetensors file."""
    arrays = {name: np.asarray(array, order="C") for name, array in state.arrays.items()}
    content: bytes = save(arrays, metadata={**state.facts, _ORDER: "\n".join(arrays)})
    return content


def unpack_state(content: bytes) -> State:
    """Return the state of a safetensors file.

    Raises:
        ValueError: The content is malformed.
        KeyError: The content lacks facts.
        SafetensorError: The content is malformed.
    """
    # The format: eight bytes with the length of the header, the header as JSON, the tensors.
    facts = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    arrays = load(content)
    names = facts.pop(_ORDER)
    return State({name: arrays[name] for name in names.split("\n")} if names else {}, facts)
