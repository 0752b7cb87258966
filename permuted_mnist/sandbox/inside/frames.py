"""The channel between the sandbox and the outside: frames over a Unix socket.

A frame is one byte for its kind, four bytes for the length of its body (big-endian), and the body. Arrays are sent as a
file descriptor with a frame, without copying. Neither side unpickles anything.
"""

import json
import mmap
import os
import socket
import struct
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["HEADER", "Arrays", "Kind", "pack", "packed_arrays", "receive", "receive_arrays", "send"]

HEADER = struct.Struct("!cI")

SEALS = 0b1111
"""F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW and F_SEAL_WRITE."""

Arrays = dict[str, npt.NDArray[Any]]


class Kind(StrEnum):
    """Kind of a frame."""

    READY = "R"
    """From inside: the submission is loaded or reset, and data may be sent."""

    DATA = "D"
    """From outside: names, types and offsets of arrays in the file of the attached descriptor."""

    TRAINED = "T"
    """From inside: `train` has returned."""

    PREDICTIONS = "P"
    """From inside: predictions, as the bytes of an npy file."""

    VALUE = "V"
    """Both directions: an observation, an action or the result of a step; see `values`."""

    RAISED = "E"
    """From inside: the submission raised an exception. The body is its traceback."""

    BAD_OUTPUT = "B"
    """From inside: predictions that cannot be stored in an npy file. The body describes them."""


def pack(kind: Kind, body: bytes = b"") -> bytes:
    """Encode a frame."""
    return HEADER.pack(kind.encode(), len(body)) + body


def send(channel: socket.socket, kind: Kind, body: bytes = b"") -> None:
    """Send a frame. Blocks until all bytes are sent."""
    channel.sendall(pack(kind, body))


def packed_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[bytes, int]:
    """Write arrays to a sealed file in memory. Read-only arrays stay read-only for the receiver.

    Returns:
        The frame that announces them, and the file's descriptor, which the caller closes.
    """
    import fcntl  # late: it exists only on Unix

    file = os.memfd_create("arrays", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        places, start = [], 0
        with os.fdopen(file, "wb", closefd=False) as stream:
            for name, array in arrays.items():
                stream.write(np.ascontiguousarray(array).data)
                places.append(
                    {
                        "name": name,
                        "type": array.dtype.str,
                        "shape": array.shape,
                        "start": start,
                        "writable": array.flags.writeable,
                    }
                )
                start += array.nbytes
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(file)
        raise
    return pack(Kind.DATA, json.dumps(places).encode()), file


def receive(channel: socket.socket) -> bytes:
    """Wait for a frame. Returns its body.

    Raises:
        EOFError: The other side closed the channel.
    """
    return _received(channel)[0]


def receive_arrays(channel: socket.socket) -> Arrays:
    """Wait for arrays.

    Returns:
        Arrays by name; empty if the frame has no file. Changes to the arrays are private to this process.

    Raises:
        EOFError: The other side closed the channel.
    """
    received, files = _received(channel)
    if not files:
        return {}
    memory = mmap.mmap(files[0], 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    os.close(files[0])
    arrays: Arrays = {}
    for place in json.loads(received):
        kind, count = np.dtype(place["type"]), int(np.prod(place["shape"], dtype=np.int64))
        arrays[place["name"]] = np.frombuffer(memory, kind, count, place["start"]).reshape(place["shape"])
        arrays[place["name"]].setflags(write=place["writable"])
    return arrays


def _received(channel: socket.socket) -> tuple[bytes, list[int]]:
    """Receive the body of a frame and its file descriptors. Each frame is answered, so only one is in transit."""
    received, files = bytearray(), []
    while len(received) < HEADER.size or len(received) < HEADER.size + HEADER.unpack_from(received)[1]:
        piece, descriptors, _, _ = socket.recv_fds(channel, 65_536, 1)
        if not piece:
            raise EOFError("the channel was closed")
        received += piece
        files += descriptors
    return bytes(received[HEADER.size :]), files
