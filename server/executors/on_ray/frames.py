"""The messages of `wire` as bytes, for Ray to carry. Ray is not imported.

Large values are named instead of sent: the parts of a job's data, which the cluster's object store has, and the state
that the worker returned last, which the worker has.
"""

import io
import pickle
from collections.abc import Callable, Mapping
from typing import Any

from ml_trainer_env.server.executors.wire import Done, Unit
from ml_trainer_env.server.trainer.arrays import State

__all__ = ["LAST_STATE", "decode", "encode", "part_name", "returned_state"]

LAST_STATE = "state"
"""Name of the state that the worker returned last."""


def part_name(key: str) -> str:
    """Return the name of a part of data."""
    return f"part {key}"


def encode(message: object, names: Mapping[int, str]) -> bytes:
    """Return a message as bytes.

    Args:
        message: The message.
        names: The names of the values that are not sent, by `id`.
    """
    file = io.BytesIO()
    _Pickler(file, names).dump(message)
    return file.getvalue()


def decode(frame: bytes, value_of: Callable[[str], object]) -> Any:
    """Return the message of a frame. `value_of` returns the value of a name."""
    return _Unpickler(io.BytesIO(frame), value_of).load()


def returned_state(message: object) -> State | None:
    """Return the state that a worker returns with a message. None if it returns none."""
    match message:
        case Unit(result) | Done(result):
            return result.state
    return None


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, names: Mapping[int, str]) -> None:
        super().__init__(file, protocol=5)
        self._names = names

    def persistent_id(self, obj: object) -> str | None:
        return self._names.get(id(obj))


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, value_of: Callable[[str], object]) -> None:
        super().__init__(file)
        self._value_of = value_of

    def persistent_load(self, pid: Any) -> object:
        return self._value_of(pid)
