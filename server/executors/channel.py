"""How messages pass between the pool and a worker: pickled, over a pair of sockets.

Both ends are this package on this machine; nothing that came from a client is ever unpickled. The two ends keep the
same books of large values that passed, so that these are named instead of sent again.
"""

import io
import pickle
import select
import socket
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from ml_trainer_env.server.executors.bounded_map import BoundedMap
from ml_trainer_env.server.executors.job import Part
from ml_trainer_env.server.executors.wire import Done, Request, Unit
from ml_trainer_env.server.trainer.arrays import State

__all__ = ["KEPT_BYTES", "Channel"]

KEPT_BYTES = 256_000_000
"""Limit for the data that both ends keep."""

_IN_BAND_BYTES = 16_384
"""Arrays up to this size are sent within the pickle: a message of many small arrays needs few system calls."""

_SEND_BUFFER_BYTES = 1 << 20
"""Asked of the kernel. With its usual 200 kB the two ends take turns thirty times for a large state."""


class Channel:
    """One end of the pair. Large arrays are sent from where they lie, and stay where they are received.

    Args:
        end: A socket of a pair; the channel owns it.
        stuck_s: How long the other end may leave a message half sent or half read; None for ever.

    Raises (`send` and `receive`):
        EOFError: The other end is gone.
        OSError: Likewise, or it is stuck.
    """

    def __init__(self, end: socket.socket, stuck_s: float | None = None) -> None:
        end.settimeout(stuck_s)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._socket = end
        self._kept = _Kept()
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)

    def send(self, message: object) -> None:
        """Send a message whole."""
        buffers: list[memoryview] = []
        head = io.BytesIO()
        _Pickler(head, self._kept.names(message), buffers).dump(message)
        sizes = [head.tell(), *map(len, buffers)]
        self._socket.sendall(struct.pack(f"!I{len(sizes)}Q", len(sizes), *sizes) + head.getbuffer())
        for buffer in buffers:
            self._socket.sendall(buffer)
        self._kept.note(message)

    def receive(self) -> Any:
        """Wait for a message."""
        (count,) = struct.unpack("!I", self._read(4))
        head, *buffers = map(self._read, struct.unpack(f"!{count}Q", self._read(8 * count)))
        message = _Unpickler(io.BytesIO(head), self._kept, buffers).load()
        self._kept.note(message)
        return message

    def fileno(self) -> int:
        """The socket's descriptor, to wait for it beside others."""
        return self._socket.fileno()

    def has_message(self, timeout_s: float = 0.0) -> bool:
        """Wait until there is something to receive, or the other end is gone. A timeout of 0 takes a microsecond."""
        return bool(self._poll.poll(timeout_s * 1000))

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def _read(self, size: int) -> memoryview:
        whole = np.empty(size, np.uint8).data
        rest = whole
        while rest:
            count = self._socket.recv_into(rest)
            if count == 0:
                raise EOFError
            rest = rest[count:]
        return whole


class _Kept:
    """The books: parts of data, and the state that the worker returned last.

    Both ends note the same messages in the same order, so their books agree.
    """

    def __init__(self) -> None:
        self._parts: BoundedMap[Part] = BoundedMap(KEPT_BYTES)
        self._state: State | None = None

    def note(self, message: object) -> None:
        """Enter what passed in a message."""
        match message:
            case Request(job):
                for part in job.data.parts:
                    self._parts.keep(part.key, part, part.nbytes)
            case Unit(result) | Done(result) if result.state is not None:
                self._state = result.state

    def names(self, message: object) -> Mapping[int, str]:
        """The names of the values within a message that the other end has, by `id`."""
        if not isinstance(message, Request):
            return {}
        job = message.job
        named = {id(part): f"part {part.key}" for part in job.data.parts if part.key in self._parts}
        return named | {id(job.state): "state"} if job.state is self._state else named

    def named(self, name: str) -> object:
        """The value of that name."""
        return self._state if name == "state" else self._parts[name.removeprefix("part ")]


class _Pickler(pickle.Pickler):
    """Names what the other end has, and leaves large arrays to `buffers`."""

    def __init__(self, file: io.BytesIO, names: Mapping[int, str], buffers: list[memoryview]) -> None:
        super().__init__(file, protocol=5, buffer_callback=self._is_small)
        self._names = names
        self._buffers = buffers

    def persistent_id(self, obj: object) -> str | None:
        return self._names.get(id(obj))

    def _is_small(self, buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if len(raw) <= _IN_BAND_BYTES:
            return True
        self._buffers.append(raw)
        return False


class _Unpickler(pickle.Unpickler):
    """Finds what the other end has named."""

    def __init__(self, file: io.BytesIO, kept: _Kept, buffers: list[memoryview]) -> None:
        super().__init__(file, buffers=buffers)
        self._kept = kept

    def persistent_load(self, pid: Any) -> object:
        return self._kept.named(pid)
