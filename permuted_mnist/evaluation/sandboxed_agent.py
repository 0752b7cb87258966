"""An agent in a sandbox, with the usual methods `reset`, `train` and `predict`."""

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
"""Maximum number of characters of an agent's error message, and of its log, in a result."""

Array = npt.NDArray[Any]


class AgentFailedError(Exception):
    """The agent failed. The message is a traceback, or what was expected and what came.

    Attributes:
        failure: Kind of failure.
    """

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(printable(detail))
        self.failure = failure


class SandboxedAgent:
    """One process of an agent. A context manager that ends the process and all its children.

    Loading the agent has its own time limit. The training data are then delivered as a file in memory, without copying.
    The clock of `Limits.wall_s` runs from the delivery until the predictions arrive.

    Args:
        folder: The agent's folder, readable by every user.
        limits: Resource limits. `wall_s` is for `train` and the following `predict` together.
        layers: Sandbox layers.
        seed: Seed for the agent's constructor.

    Raises:
        OSError: The sandbox cannot be started.

    Attributes:
        began: Time of the start of the process, by `time.monotonic`.
        delivered: Time of the delivery of the training data; None before it.
        trained: Time when `train` returned; None before it.
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
        """The end of the agent's output."""
        return printable(self._process.log)

    @property
    def peak_memory_bytes(self) -> int:
        """Peak memory of all its processes, measured every 50 ms."""
        return self._process.peak_memory_bytes

    def load(self) -> None:
        """Wait until the agent is imported and constructed.

        Raises:
            AgentFailedError: The agent failed.
        """
        self._expect(Kind.READY, "while it was loaded", self.began, self._limits.start_s)

    def reset(self) -> None:
        """Reset the agent.

        Raises:
            AgentFailedError: The agent failed.
        """
        self._send(pack(Kind.DATA), None, "in reset")
        self._expect(Kind.READY, "in reset", time.monotonic(), self._limits.wall_s)

    def train(self, X_train: Array, y_train: Array) -> None:
        """Train the agent on images and labels. Arrays that are read-only here are read-only in the sandbox.

        Raises:
            AgentFailedError: The agent failed.
        """
        self.trained = None
        with _Packed({"X_train": X_train, "y_train": y_train}) as (frame, file):
            self.delivered = time.monotonic()
            self._send(frame, file, "in train")
        self._expect(Kind.TRAINED, "in train", self.delivered, self._limits.wall_s)
        self.trained = time.monotonic()

    def predict(self, X_test: Array) -> Array:
        """Get the agent's predictions: an unchecked array of any shape. Use `as_labels` to validate it.

        Raises:
            AgentFailedError: The agent failed.
        """
        since = self.delivered or time.monotonic()
        with _Packed({"X_test": X_test}) as (frame, file):
            self._send(frame, file, "in predict")
        body = self._expect(Kind.PREDICTIONS, "in predict", since, self._limits.wall_s)
        try:
            return _parse_npy(body)
        except GarbledError as error:
            raise AgentFailedError(Failure.BAD_OUTPUT, str(error)) from error

    def _send(self, frame: bytes, file: int | None, during: str) -> None:
        try:
            self._process.send(frame, file)
        except SandboxError as error:
            raise AgentFailedError(failure_of(error), f"{during}: {error}") from error

    def _expect(self, kind: Kind, during: str, since: float, seconds: float) -> bytes:
        """Wait for an answer of this kind. Returns its body."""
        try:
            received, body = self._process.receive(since + seconds)
        except SandboxError as error:
            raise AgentFailedError(failure_of(error), _describe_error(error, during, seconds)) from error
        match received:
            case Kind.RAISED:
                raise AgentFailedError(Failure.CODE_ERROR, body.decode(errors="replace"))
            case Kind.BAD_OUTPUT:
                raise AgentFailedError(Failure.BAD_OUTPUT, body.decode(errors="replace"))
        if received is not kind:
            raise AgentFailedError(Failure.BAD_OUTPUT, f"the agent should have sent {kind.name}, got {received.name}")
        return body


class _Packed:
    """Arrays as a frame and a file in memory. A context manager that closes the file."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._frame, self._file = packed_arrays(arrays)

    def __enter__(self) -> tuple[bytes, int]:
        return self._frame, self._file

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def printable(text: str) -> str:
    """Get the end of an agent's text. Control characters are replaced."""
    kept = text[-MAX_TEXT:]
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "\N{REPLACEMENT CHARACTER}" for sign in kept)


def _parse_npy(body: bytes) -> Array:
    """Parse an untrusted npy file. Its size is checked before memory is allocated.

    Raises:
        GarbledError: The file is invalid.
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
    except Exception as error:  # NumPy raises many kinds of errors for invalid headers
        raise GarbledError(f"predictions should be an npy file: {error}") from error


def _describe_error(error: SandboxError, during: str, seconds: float) -> str:
    """Describe an error and the method in which it occurred."""
    match error:
        case FloodedError() | GarbledError():
            return str(error)
        case TimedOutError():
            return f"{during}: not done after {seconds:g} s"
    return f"{during}: {error}"
