"""The channel between a sandbox and the outside: frames of a kind and some bytes over a Unix socket.

A frame is one byte for its kind, four for the length of its body (big-endian), and the body. Arrays go in as file
descriptors beside a frame: no copy is made and no time is lost. Neither side unpickles anything.
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
    """What a frame says."""

    READY = "R"
    """Inside: the submission is loaded, or reset; data may come."""

    DATA = "D"
    """Outside: names, types and places of arrays, which the descriptor beside it holds."""

    TRAINED = "T"
    """Inside: `train` has returned."""

    PREDICTIONS = "P"
    """Inside: predictions, as the bytes of an npy file."""

    VALUE = "V"
    """Either way: an observation, an action or what a step came to; see `values`."""

    RAISED = "E"
    """Inside: the submission raised an exception; the body is its traceback."""

    BAD_OUTPUT = "B"
    """Inside: predictions that no npy file can hold; the body says what they are."""


def pack(kind: Kind, body: bytes = b"") -> bytes:
    """A frame as bytes."""
    return HEADER.pack(kind.encode(), len(body)) + body


def send(channel: socket.socket, kind: Kind, body: bytes = b"") -> None:
    """Send a frame, waiting until it is gone."""
    channel.sendall(pack(kind, body))


def packed_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[bytes, int]:
    """Write arrays into a file in memory, which nobody can change afterwards. Arrays that are read-only stay read-only.

    Returns:
        The frame that announces them, and the file's descriptor, which the caller closes.
    """
    import fcntl  # late: it exists on Unix alone

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
    """Wait for a frame; its body.

    Raises:
        EOFError: The other side has gone.
    """
    return _received(channel)[0]


def receive_arrays(channel: socket.socket) -> Arrays:
    """Wait for arrays.

    Returns:
        Arrays by name; none if the frame came without a file. What is written to them stays in this process.

    Raises:
        EOFError: The other side has gone.
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
    """A frame's body, and the descriptors beside it. There is one frame at a time: each waits for an answer."""
    received, files = bytearray(), []
    while len(received) < HEADER.size or len(received) < HEADER.size + HEADER.unpack_from(received)[1]:
        piece, descriptors, _, _ = socket.recv_fds(channel, 65_536, 1)
        if not piece:
            raise EOFError("the channel was closed")
        received += piece
        files += descriptors
    return bytes(received[HEADER.size :]), files
