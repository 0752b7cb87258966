"""Messages between the pool and a worker, pickled, over a pair of sockets.

Both ends are this package on this machine. Nothing from a client is ever unpickled. Both ends keep large values, and
later messages name them instead.
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
"""Limit for the data that each end keeps, in bytes."""

_IN_BAND_BYTES = 16_384
"""Arrays up to this size, in bytes, are sent within the pickle. So many small arrays need few system calls."""

_SEND_BUFFER_BYTES = 1 << 20
"""Size of the send buffer, in bytes. With the usual 200 kB a large state takes thirty turns of both ends."""


class Channel:
    """One end of the pair. Large arrays are sent and received without a copy.

    Args:
        end: A socket of the pair. The channel owns it.
        stuck_s: How long the other end may leave a message half sent or half read, in seconds. None for no limit.

    Raises (`send` and `receive`):
        EOFError: The other end has closed.
        OSError: The connection has failed, or the other end exceeded `stuck_s`.
    """

    def __init__(self, end: socket.socket, stuck_s: float | None = None) -> None:
        end.settimeout(stuck_s)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._socket = end
        self._exchanged = _ExchangedValues()
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)

    def send(self, message: object) -> None:
        """Send a whole message."""
        buffers: list[memoryview] = []
        head = io.BytesIO()
        _Pickler(head, self._exchanged.names(message), buffers).dump(message)
        sizes = [head.tell(), *map(len, buffers)]
        self._socket.sendall(struct.pack(f"!I{len(sizes)}Q", len(sizes), *sizes) + head.getbuffer())
        for buffer in buffers:
            self._socket.sendall(buffer)
        self._exchanged.record(message)

    def receive(self) -> Any:
        """Wait for a message and return it."""
        (count,) = struct.unpack("!I", self._read(4))
        head, *buffers = map(self._read, struct.unpack(f"!{count}Q", self._read(8 * count)))
        message = _Unpickler(io.BytesIO(head), self._exchanged, buffers).load()
        self._exchanged.record(message)
        return message

    def fileno(self) -> int:
        """Return the socket's descriptor, for `select.poll`."""
        return self._socket.fileno()

    def has_message(self, timeout_s: float = 0.0) -> bool:
        """Wait until `receive` would not block. Returns false after the timeout."""
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


class _ExchangedValues:
    """The values that both ends hold: parts of data, and the state that the worker returned last.

    Both ends record the same messages in the same order, so they hold the same values.
    """

    def __init__(self) -> None:
        self._parts: BoundedMap[Part] = BoundedMap(KEPT_BYTES)
        self._state: State | None = None

    def record(self, message: object) -> None:
        """Keep the values of a message that was sent or received."""
        match message:
            case Request(job):
                for part in job.data.parts:
                    self._parts.keep(part.key, part, part.nbytes)
            case Unit(result) | Done(result) if result.state is not None:
                self._state = result.state

    def names(self, message: object) -> Mapping[int, str]:
        """Return the names of the message's values that the other end has, by `id`."""
        if not isinstance(message, Request):
            return {}
        job = message.job
        named = {id(part): f"part {part.key}" for part in job.data.parts if part.key in self._parts}
        return named | {id(job.state): "state"} if job.state is self._state else named

    def value(self, name: str) -> object:
        """Return the value of a name."""
        return self._state if name == "state" else self._parts[name.removeprefix("part ")]


class _Pickler(pickle.Pickler):
    """Writes names in place of the values that the other end has, and puts large arrays into `buffers`."""

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
    """Puts values in place of names."""

    def __init__(self, file: io.BytesIO, exchanged: _ExchangedValues, buffers: list[memoryview]) -> None:
        super().__init__(file, buffers=buffers)
        self._exchanged = exchanged

    def persistent_load(self, pid: Any) -> object:
        return self._exchanged.value(pid)
