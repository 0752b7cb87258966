"""An agent in a sandbox, used like one that is not: `reset`, `train` and `predict`."""

import io
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from permuted_mnist.evaluation.results import Failure, failure_of
from permuted_mnist.sandbox.errors import FloodedError, GarbledError, SandboxError, TimedOutError
from permuted_mnist.sandbox.inside.frames import Kind, pack, packed_arrays
from permuted_mnist.sandbox.inside.play import PLAY
from permuted_mnist.sandbox.layers import Layers
from permuted_mnist.sandbox.limits import Limits
from permuted_mnist.sandbox.process import SandboxedProcess
from permuted_mnist.tasks import CLASSES

__all__ = ["AgentFailedError", "SandboxedAgent", "printable"]

MAX_TEXT = 65_536
"""Characters of an agent's own that a result holds, of what went wrong as of what it printed."""

Array = npt.NDArray[Any]


class AgentFailedError(Exception):
    """The agent failed. The message is its own traceback, or what was expected and what came.

    Attributes:
        failure: How.
    """

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(printable(detail))
        self.failure = failure


class SandboxedAgent:
    """One process of an agent. A context manager: nothing of it is left when it is closed.

    The order of things is what makes the clock fair: the agent is loaded first and has its own limit for that; then
    the training data are handed over as a file in memory, in no time, and the clock of `Limits.wall_s` runs until the
    predictions are here.

    Args:
        folder: The agent's; every user must be able to read it.
        limits: What it may use. `wall_s` is for `train` and the `predict` after it together.
        layers: What holds it.
        seed: For its constructor.

    Raises:
        OSError: The sandbox cannot be started.

    Attributes:
        began: When the process was started, by `time.monotonic`.
        delivered: When it was given training data; None before that.
        trained: When `train` returned; None before that.
    """

    def __init__(self, folder: Path, limits: Limits, layers: Layers, seed: int) -> None:
        self.began = time.monotonic()
        self.delivered: float | None = None
        self.trained: float | None = None
        self._limits = limits
        self._process = SandboxedProcess(folder, limits, layers, PLAY, (CLASSES, seed))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.close()

    @property
    def log(self) -> str:
        """The end of what it printed."""
        return printable(self._process.log)

    @property
    def peak_memory_bytes(self) -> int:
        """The most that all its processes held, measured every 50 ms."""
        return self._process.peak_memory_bytes

    def load(self) -> None:
        """Wait until it is imported and made.

        Raises:
            AgentFailedError: It failed at that.
        """
        self._expect(Kind.READY, "while it was loaded", self.began, self._limits.start_s)

    def reset(self) -> None:
        """Have it forget everything.

        Raises:
            AgentFailedError: It failed at that.
        """
        self._send(pack(Kind.DATA), None, "in reset")
        self._expect(Kind.READY, "in reset", time.monotonic(), self._limits.wall_s)

    def train(self, X_train: Array, y_train: Array) -> None:
        """Have it learn from images and labels, in any form. They are read-only to it if they are here.

        Raises:
            AgentFailedError: It failed at that.
        """
        self.trained = None
        with _Packed({"X_train": X_train, "y_train": y_train}) as (frame, file):
            self.delivered = time.monotonic()
            self._send(frame, file, "in train")
        self._expect(Kind.TRAINED, "in train", self.delivered, self._limits.wall_s)
        self.trained = time.monotonic()

    def predict(self, X_test: Array) -> Array:
        """What it predicts for images: an array of any shape, for `as_labels` to judge.

        Raises:
            AgentFailedError: It failed at that.
        """
        since = self.delivered or time.monotonic()
        with _Packed({"X_test": X_test}) as (frame, file):
            self._send(frame, file, "in predict")
        body = self._expect(Kind.PREDICTIONS, "in predict", since, self._limits.wall_s)
        try:
            return _unpacked(body)
        except GarbledError as error:
            raise AgentFailedError(Failure.BAD_OUTPUT, str(error)) from error

    def _send(self, frame: bytes, file: int | None, during: str) -> None:
        try:
            self._process.send(frame, file)
        except SandboxError as error:
            raise AgentFailedError(failure_of(error), f"{during}: {error}") from error

    def _expect(self, kind: Kind, during: str, since: float, seconds: float) -> bytes:
        """The body of the answer, which should be of this kind and come in time."""
        try:
            came, body = self._process.receive(since + seconds)
        except SandboxError as error:
            raise AgentFailedError(failure_of(error), _said(error, during, seconds)) from error
        match came:
            case Kind.RAISED:
                raise AgentFailedError(Failure.CODE_ERROR, body.decode(errors="replace"))
            case Kind.BAD_OUTPUT:
                raise AgentFailedError(Failure.BAD_OUTPUT, body.decode(errors="replace"))
        if came is not kind:
            raise AgentFailedError(Failure.BAD_OUTPUT, f"the agent should have sent {kind.name}, got {came.name}")
        return body


class _Packed:
    """Arrays as a frame and the file in memory beside it, which is closed at the end."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._frame, self._file = packed_arrays(arrays)

    def __enter__(self) -> tuple[bytes, int]:
        return self._frame, self._file

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def printable(text: str) -> str:
    """The end of an agent's text, without what could steer a terminal."""
    kept = text[-MAX_TEXT:]
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "\N{REPLACEMENT CHARACTER}" for sign in kept)


def _unpacked(body: bytes) -> Array:
    """The array of an npy file that a stranger wrote: its size is compared before any memory is taken.

    Raises:
        GarbledError: It is no such file.
    """
    file = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read(file)
        held = len(body) - file.tell()
        if kind.hasobject or math.prod(shape) * kind.itemsize != held:
            raise ValueError(f"{held} bytes are no array of {shape} {kind}")
        return np.frombuffer(body, kind, offset=file.tell()).reshape(shape)
    except Exception as error:  # whatever NumPy makes of a stranger's header
        raise GarbledError(f"predictions should be an npy file: {error}") from error


def _said(error: SandboxError, during: str, seconds: float) -> str:
    """What the failure was, and during what."""
    match error:
        case FloodedError() | GarbledError():
            return str(error)
        case TimedOutError():
            return f"{during}: not done after {seconds:g} s"
    return f"{during}: {error}"
