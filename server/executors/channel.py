"""How messages pass between the pool and a worker: pickled, over a pair of sockets.

Both ends are this package on this machine; nothing that came from a client is ever unpickled.
"""

import io
import pickle
import select
import socket
import struct
from collections import OrderedDict
from typing import Any

import numpy as np

from ml_trainer_env.server.executors.contract import KEPT_TASKS, EpochResult
from ml_trainer_env.server.executors.wire import Done, Request
from ml_trainer_env.server.trainer.examples import Examples

__all__ = ["Channel"]

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
        _Pickler(head, self._kept, buffers).dump(message)
        sizes = [head.tell(), *map(len, buffers)]
        self._socket.sendall(struct.pack(f"!I{len(sizes)}Q", len(sizes), *sizes) + head.getvalue())
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

    def has_message(self, timeout_s: float = 0.0) -> bool:
        """Wait until there is something to receive, be it that the other end is gone. A look takes a microsecond."""
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
    """What passed lately, so that both ends have it: named from then on instead of sent again.

    These are the images of the last few tasks and the state that the worker returned last. Both ends
    note the same messages in the same order, so they keep the same books.
    """

    def __init__(self) -> None:
        self._images: OrderedDict[str, Examples] = OrderedDict()
        self._state: object = self  # no message has it in it

    def note(self, message: object) -> None:
        """Keep what is worth keeping in a message that passed."""
        match message:
            case Request(job):
                self._images[job.data.key] = job.data
                self._images.move_to_end(job.data.key)
                while len(self._images) > KEPT_TASKS:
                    self._images.popitem(last=False)
            case Done(EpochResult(state=state)):
                self._state = state

    def name_of(self, thing: object) -> str | None:
        """The name of what the other end has, else None."""
        if thing is self._state:
            return "state"
        if isinstance(thing, Examples) and thing.key in self._images:
            return f"images {thing.key}"
        return None

    def named(self, name: str) -> object:
        """What has that name."""
        return self._state if name == "state" else self._images[name.removeprefix("images ")]


class _Pickler(pickle.Pickler):
    """Names what the other end has, and leaves large arrays to `buffers`."""

    def __init__(self, file: io.BytesIO, kept: _Kept, buffers: list[memoryview]) -> None:
        super().__init__(file, protocol=5, buffer_callback=lambda buffer: buffers.append(buffer.raw()))
        self._kept = kept

    def persistent_id(self, obj: object) -> str | None:
        return self._kept.name_of(obj)


class _Unpickler(pickle.Unpickler):
    """Finds what the other end has named."""

    def __init__(self, file: io.BytesIO, kept: _Kept, buffers: list[memoryview]) -> None:
        super().__init__(file, buffers=buffers)
        self._kept = kept

    def persistent_load(self, pid: Any) -> object:
        return self._kept.named(pid)
