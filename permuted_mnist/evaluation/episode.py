"""One task with one agent, in a sandbox.

The order of things is what makes the clock fair: the agent is loaded first and has its own limit for that; then the
training data are handed over as a file in memory, in no time, and the clock of `Limits.wall_s` runs; the test images
follow when `train` has returned. The labels of the test never leave this process.
"""

import contextlib
import io
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from permuted_mnist.evaluation.results import EpisodeResult, Failure, failure_of
from permuted_mnist.predictions import PredictionError, accuracy, as_labels
from permuted_mnist.sandbox.errors import FloodedError, GarbledError, SandboxError, TimedOutError
from permuted_mnist.sandbox.inside.frames import Kind, packed_arrays
from permuted_mnist.sandbox.inside.play import PLAY
from permuted_mnist.sandbox.layers import Layers
from permuted_mnist.sandbox.limits import Limits
from permuted_mnist.sandbox.process import SandboxedProcess
from permuted_mnist.tasks import CLASSES, PermutedTask

__all__ = ["printable", "run_episode"]

MAX_TEXT = 65_536
"""Characters of an agent's own that a result holds, of what went wrong as of what it printed."""


class _FailedError(Exception):
    """The agent said itself, or showed, that it failed."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure


@dataclass
class _Clock:
    """When what happened, by `time.monotonic`."""

    began: float = field(default_factory=time.monotonic)
    delivered: float | None = None
    trained: float | None = None


def run_episode(
    number: int, folder: Path, task: PermutedTask, limits: Limits, layers: Layers, agent_seed: int
) -> EpisodeResult:
    """Train and grade.

    Args:
        number: Of the episode, from 1.
        folder: The agent's; every user must be able to read it.
        task: What to learn.
        limits: What the agent may use.
        layers: What holds it.
        agent_seed: For its constructor. It must not tell the task's seed.

    Raises:
        OSError: The sandbox cannot be started.
    """
    clock = _Clock()
    right, failure, detail = None, None, ""
    with SandboxedProcess(folder, limits, layers, PLAY, (CLASSES, agent_seed)) as process:
        try:
            predictions = _played(process, task, limits, clock)
            ended = time.monotonic()
            right = accuracy(predictions, task.test_labels)
        except (SandboxError, _FailedError, PredictionError) as error:
            ended = time.monotonic()
            failure = _failure(error)
            detail = _said(error, clock, limits)
    return EpisodeResult(
        number=number,
        accuracy=right,
        time_s=ended - clock.delivered if clock.delivered else 0.0,
        train_s=clock.trained - clock.delivered if clock.delivered and clock.trained else None,
        start_s=(clock.delivered or ended) - clock.began,
        peak_memory_bytes=process.peak_memory_bytes,
        failure=failure,
        detail=printable(detail),
        log=printable(process.log),
    )


def printable(text: str) -> str:
    """The end of an agent's text, without what could steer a terminal."""
    kept = text[-MAX_TEXT:]
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "\N{REPLACEMENT CHARACTER}" for sign in kept)


def _played(process: SandboxedProcess, task: PermutedTask, limits: Limits, clock: _Clock) -> npt.NDArray[np.int64]:
    """The agent's predictions."""
    with contextlib.ExitStack() as files:
        train = packed_arrays({"X_train": task.train_images, "y_train": task.train_labels})
        files.callback(os.close, train[1])
        test = packed_arrays({"X_test": task.test_images})
        files.callback(os.close, test[1])
        _expect(Kind.READY, process.receive(clock.began + limits.start_s))
        clock.delivered = time.monotonic()
        process.send(*train)
        deadline = clock.delivered + limits.wall_s
        _expect(Kind.TRAINED, process.receive(deadline))
        clock.trained = time.monotonic()
        process.send(*test)
        body = _expect(Kind.PREDICTIONS, process.receive(deadline))
    return as_labels(_unpacked(body), len(task.test_labels))


def _unpacked(body: bytes) -> npt.NDArray[Any]:
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


def _expect(kind: Kind, frame: tuple[Kind, bytes]) -> bytes:
    """The body of a frame that should be of this kind."""
    came, body = frame
    match came:
        case Kind.RAISED:
            raise _FailedError(Failure.CODE_ERROR, body.decode(errors="replace"))
        case Kind.BAD_OUTPUT:
            raise _FailedError(Failure.BAD_OUTPUT, body.decode(errors="replace"))
    if came is not kind:
        raise GarbledError(f"the agent should have sent {kind.name}, got {came.name}")
    return body


def _failure(error: Exception) -> Failure:
    match error:
        case _FailedError():
            return error.failure
        case SandboxError():
            return failure_of(error)
    return Failure.BAD_OUTPUT


def _said(error: Exception, clock: _Clock, limits: Limits) -> str:
    """What the failure was, and during what."""
    if isinstance(error, _FailedError | PredictionError | FloodedError | GarbledError):
        return str(error)
    during = "while it was loaded" if clock.delivered is None else "in train" if clock.trained is None else "in predict"
    if isinstance(error, TimedOutError):
        bound = limits.start_s if clock.delivered is None else limits.wall_s
        return f"{during}: not done after {bound:g} s"
    return f"{during}: {error}"
