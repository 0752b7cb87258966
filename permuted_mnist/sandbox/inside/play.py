"""Plays tasks with a submission: loads it, trains it on what comes, and sends its predictions.

Nothing here is trusted outside: the submission shares this process and may change whatever it likes. Time is kept,
limits are set and predictions are judged by the other side.
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
    """Play a task; the arguments are the number of labels and the agent's seed."""
    folder, channel, (output_dim, seed) = enter()
    play(folder, channel, int(output_dim), int(seed))


def play(folder: Path, channel: socket.socket, output_dim: int, seed: int) -> None:
    """The conversation: READY; then an answer to each message, until the other side closes or something is raised.

    Training data are answered by TRAINED, test images by PREDICTIONS, and a message without arrays, which asks for a
    reset, by READY.
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
    except BaseException as error:  # whatever a submission raises is its result, SystemExit too
        send(channel, Kind.RAISED, readable(error, folder).encode(errors="replace"))


def _messages(channel: socket.socket) -> Iterator[Arrays]:
    """Arrays as they come, until the other side closes."""
    while True:
        try:
            arrays = receive_arrays(channel)
        except EOFError:
            return
        yield arrays


def answer(predictions: Any, count: int) -> tuple[Kind, bytes]:
    """Predictions as a frame's kind and body.

    Args:
        predictions: What `predict` returned.
        count: How many labels it should be.
    """
    try:
        file = io.BytesIO()
        np.save(file, np.asarray(predictions), allow_pickle=False)
    except BaseException:
        words = f"predictions should be whole numbers of shape ({count},) or ({count}, 1), got {described(predictions)}"
        return Kind.BAD_OUTPUT, words[:MAX_TRACEBACK].encode(errors="replace")
    return Kind.PREDICTIONS, file.getvalue()


def readable(error: BaseException, folder: Path) -> str:
    """A traceback as the submission's author knows it: it begins at their own first line, and names their files."""
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
    """Whether this frame is of the files here, or of the import system, which they call."""
    file = frame.tb_frame.f_code.co_filename
    ours = Path(__file__).parent, Path(importlib.__file__).parent
    return Path(file).parent in ours or file.startswith("<frozen importlib")
