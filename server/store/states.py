"""Stores states by key, in memory and as safetensors objects in a folder or a bucket. Both have size limits."""

import asyncio
import hashlib
import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import sqlalchemy as sa
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ml_trainer_env.server.store import state_rows
from ml_trainer_env.server.store.database import Database, StoreError
from ml_trainer_env.server.store.objects import open_objects
from ml_trainer_env.server.store.state_rows import object_name
from ml_trainer_env.server.store.tables import STATES
from ml_trainer_env.server.trainer.arrays import State

__all__ = ["StateStore", "pack_state", "unpack_state"]

_LOG = logging.getLogger(__name__)

Result = TypeVar("Result")

MEMORY_BYTES = 256_000_000
"""Limit for states in memory."""

_THREADS = 8
"""Threads that read and write objects. They are the store's own, so that a slow bucket holds up nothing else."""

_ORPHAN_AGE_S = 3600.0
"""Minimum age of an object without a row. A process that died while writing left such an object."""

_ORDER = "order"
"""Metadata key for the order of the arrays, which the file format does not keep."""


class StateStore:
    """Cache of states. A deleted state can be computed again.

    The least recently used states are deleted first. States that an unfinished episode needs are deleted last.

    Args:
        database: Records the objects and their checksums.
        place: Place of the objects; see `open_objects`.
        limit_bytes: Size limit for all objects. On a disk, half of the free space is a limit, too.

    Raises:
        StoreError: The place cannot be used.
    """

    def __init__(self, database: Database, place: Path | str, limit_bytes: int) -> None:
        self._database = database
        self._objects = open_objects(place, database.read_now(state_rows.journal_name))
        # States must leave disk space for the journal. A container's /tmp may be small.
        self._limit_bytes = min(limit_bytes, self._objects.free_bytes // 2)
        self._threads = ThreadPoolExecutor(_THREADS, "states")
        self._memory: OrderedDict[str, State] = OrderedDict()
        self._memory_bytes = 0
        self._lock = threading.Lock()

    async def find(self, key: str) -> State | None:
        """Return the state of a key. None if it is missing or damaged, or if its place cannot be reached."""
        if (state := self._find_in_memory(key)) is not None:
            return state
        return await self._in_thread(self._read, key)

    async def save(self, key: str, state: State) -> None:
        """Store a state. On return its object is written and recorded.

        Raises:
            OSError: The object cannot be written.
            StoreError: The object cannot be recorded.
        """
        self.keep_in_memory(key, state)
        size, digest = await self._in_thread(self._write, key, state)
        if size:
            dropped = await self._database.write(lambda connection: self._record(connection, key, size, digest))
            if dropped:
                await self._in_thread(self._objects.delete, [object_name(key) for key in dropped])

    def sweep(self) -> None:
        """Delete objects that dead processes left, and count the others. Blocking.

        Does nothing while another server of the journal sweeps.

        Raises:
            OSError: The objects cannot be listed or deleted.
            StoreError: The database cannot be used.
        """
        presence, submit = self._database.presence, self._database.submit
        if not submit(lambda connection: state_rows.take_sweep(connection, presence)).result():
            return
        try:
            names = self._objects.names_before(time.time() - _ORPHAN_AGE_S)
            self._objects.delete(self._database.read_now(lambda c: state_rows.unlisted(c, names)))
            submit(state_rows.count_again).result()
        finally:
            submit(state_rows.end_sweep).result()

    def start_sweep(self) -> None:
        """Sweep in a thread. A failure is logged."""

        def sweep() -> None:
            try:
                self.sweep()
            except (OSError, StoreError) as error:
                _LOG.warning("models without an entry in the journal are not deleted now: %s", error)

        self._threads.submit(sweep)

    def close(self) -> None:
        """Finish what has begun. Later reads and writes are refused."""
        self._threads.shutdown()

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
        """Return the size of all objects."""
        return self._database.read_now(state_rows.total_bytes)

    async def _in_thread(self, function: Callable[..., Result], *arguments: Any) -> Result:
        try:
            future = asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        except RuntimeError as error:
            raise StoreError("the store of models is closed") from error
        return await future

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
        this_object = sa.and_(STATES.c.key == key, STATES.c.sha256 == digest)
        try:
            content = self._objects.get(object_name(key))
            if hashlib.sha256(content).hexdigest() != digest:
                raise ValueError("its checksum is wrong")
            state = unpack_state(content)
        except (FileNotFoundError, ValueError, KeyError, SafetensorError) as error:
            _LOG.warning("the kept state %s is damaged and will be trained again: %s", key, error)
            # Another server may have written it again meanwhile.
            self._database.submit(lambda connection: state_rows.delete_states(connection, this_object)).result()
            return None
        except OSError as error:  # it may be there when the place can be reached again
            _LOG.warning("the kept state %s cannot be read and will be trained again: %s", key, error)
            return None
        used = sa.update(STATES).where(this_object).values(used_at=time.time())
        self._database.submit(lambda connection: connection.execute(used))
        self.keep_in_memory(key, state)
        return state

    def _write(self, key: str, state: State) -> tuple[int, str]:
        """Write an object, unless it is recorded already. Return its size and checksum; 0 and "" if unchanged."""
        statement = sa.select(STATES.c.key).where(STATES.c.key == key)
        if self._database.read_now(lambda connection: connection.execute(statement).first()):
            return 0, ""
        content = pack_state(state)
        self._objects.put(object_name(key), content)
        return len(content), hashlib.sha256(content).hexdigest()

    def _record(self, connection: sa.Connection, key: str, size: int, digest: str) -> list[str]:
        """Record an object. Over the size limit, delete the rows of others and return their keys."""
        state_rows.record_state(connection, key, size, digest)
        return state_rows.make_room(connection, self._limit_bytes, keep=key)


def pack_state(state: State) -> bytes:
    """Return a state as the content of a safetensors file. Equal states have equal contents, in every process."""
    arrays = {name: np.asarray(array, order="C") for name, array in state.arrays.items()}
    content: bytes = save(arrays, metadata={**state.facts, _ORDER: "\n".join(arrays)})
    # The library writes the metadata in an order of its own, which differs between processes.
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[end:]


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
