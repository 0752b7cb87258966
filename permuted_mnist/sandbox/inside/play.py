"""Runs a submission inside the sandbox: loads it, trains it on the received data, and sends its predictions.

The outside does not trust this process, because the submission can change everything in it. The outside measures time,
enforces limits and grades predictions.
"""

import importlib
import io
import os
import socket
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from .described import described
from .entry import Entry, enter
from .frames import Arrays, Kind, receive_arrays, send
from .loading import LoadError, load_agent, make_agent

__all__ = ["PLAY", "main", "readable"]

PLAY = Entry("play:main")

MAX_TRACEBACK = 20_000
"""Characters."""


def main() -> None:
    """Run a submission. The arguments are the number of labels and the agent's seed."""
    folder, channel, (output_dim, seed) = enter()
    play(folder, channel, int(output_dim), int(seed))


def play(folder: Path, channel: socket.socket, output_dim: int, seed: int) -> None:
    """Send READY, then answer each message, until the other side closes the channel or an exception is raised.

    The answer to training data is TRAINED, and to test images PREDICTIONS. A message without arrays requests a reset,
    and the answer is READY.
    """
    try:
        agent = make_agent(load_agent(folder), {"output_dim": output_dim, "seed": seed})
        reset = getattr(agent, "reset", lambda: None)
        reset()
        send(channel, Kind.READY)
        for arrays in _messages(channel):
            if "X_train" in arrays:
                agent.train(arrays["X_train"], arrays["y_train"])
                send(channel, Kind.TRAINED)
            elif "X_test" in arrays:
                count = len(arrays["X_test"])
                send(channel, *answer(agent.predict(arrays["X_test"]), count))
            else:
                reset()
                send(channel, Kind.READY)
    except LoadError as error:
        send(channel, Kind.RAISED, str(error).encode())
    except BaseException as error:  # any exception of a submission is its result, also SystemExit
        send(channel, Kind.RAISED, readable(error, folder).encode(errors="replace"))


def _messages(channel: socket.socket) -> Iterator[Arrays]:
    """Yield received arrays until the other side closes the channel."""
    while True:
        try:
            arrays = receive_arrays(channel)
        except EOFError:
            return
        yield arrays


def answer(predictions: Any, count: int) -> tuple[Kind, bytes]:
    """Convert predictions to the kind and body of a frame.

    Args:
        predictions: Return value of `predict`.
        count: Expected number of labels.
    """
    try:
        file = io.BytesIO()
        np.save(file, np.asarray(predictions), allow_pickle=False)
    except BaseException:
        words = f"predictions should be whole numbers of shape ({count},) or ({count}, 1), got {described(predictions)}"
        return Kind.BAD_OUTPUT, words[:MAX_TRACEBACK].encode(errors="replace")
    return Kind.PREDICTIONS, file.getvalue()


def readable(error: BaseException, folder: Path) -> str:
    """Format a traceback for the submission's author. It begins at the first line of their own code."""
    frames = list(_frames(error.__traceback__))
    own = [frame for frame in frames if Path(frame.tb_frame.f_code.co_filename).is_relative_to(folder)]
    first = next(iter(own), None) or next((frame for frame in frames if not _is_ours(frame)), None)
    text = "".join(traceback.format_exception(type(error), error, first))
    return text.replace(f"{folder}{os.sep}", "")[-MAX_TRACEBACK:]


def _frames(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _is_ours(frame: TracebackType) -> bool:
    """Whether a frame belongs to this folder or to the import system."""
    file = frame.tb_frame.f_code.co_filename
    ours = Path(__file__).parent, Path(importlib.__file__).parent
    return Path(file).parent in ours or file.startswith("<frozen importlib")
