"""Plays one task with a submission: loads it, trains it on what comes, and sends its predictions.

Nothing here is trusted outside: the submission shares this process and may change whatever it likes. Time is kept,
limits are set and predictions are judged by the other side.
"""

import io
import os
import socket
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from .entry import Entry, enter
from .frames import Kind, receive_arrays, send
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
    """The conversation: READY, data, TRAINED, data, PREDICTIONS; or what went wrong."""
    try:
        agent = make_agent(load_agent(folder), {"output_dim": output_dim, "seed": seed})
        getattr(agent, "reset", lambda: None)()
        send(channel, Kind.READY)
        arrays = receive_arrays(channel)
        agent.train(arrays["X_train"], arrays["y_train"])
        send(channel, Kind.TRAINED)
        predictions = agent.predict(receive_arrays(channel)["X_test"])
    except LoadError as error:
        send(channel, Kind.RAISED, str(error).encode())
    except BaseException as error:  # whatever a submission raises is its result, SystemExit too
        send(channel, Kind.RAISED, readable(error, folder).encode(errors="replace"))
    else:
        kind, body = answer(predictions)
        send(channel, kind, body)


def answer(predictions: Any) -> tuple[Kind, bytes]:
    """Predictions as a frame's kind and body."""
    try:
        file = io.BytesIO()
        np.save(file, np.asarray(predictions), allow_pickle=False)
    except BaseException as error:
        words = f"predictions should be an array of labels, got {type(predictions).__name__}: {error}"
        return Kind.BAD_OUTPUT, words[:MAX_TRACEBACK].encode(errors="replace")
    return Kind.PREDICTIONS, file.getvalue()


def readable(error: BaseException, folder: Path) -> str:
    """A traceback as the submission's author knows it: without the frames here, its own files by their names."""
    inner = error.__traceback__
    while inner is not None and _is_ours(inner):
        inner = inner.tb_next
    text = "".join(traceback.format_exception(type(error), error, inner))
    return text.replace(f"{folder}{os.sep}", "")[-MAX_TRACEBACK:]


def _is_ours(frame: TracebackType) -> bool:
    file = frame.tb_frame.f_code.co_filename
    return Path(file).parent == Path(__file__).parent or file.startswith("<frozen importlib")
