"""Plays one task with a submission: loads it, trains it on what comes, and sends its predictions.

    python -I -c "..." FOLDER CHANNEL USER OUTPUT_DIM SEED     (see `play_command`)

Nothing here is trusted outside: the submission shares this process and may change whatever it likes. Time is kept,
limits are set and predictions are judged by the other side.
"""

import io
import os
import socket
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from .frames import Kind, receive_arrays, send
from .loading import LoadError, load_agent, make_agent

__all__ = ["main", "play_command"]

MAX_TRACEBACK = 20_000
"""Characters."""


def play_command(
    python: str, program: Path, folder: Path, channel: int, user: int, output_dim: int, seed: int
) -> list[str]:
    """The command line that runs this module.

    Args:
        python: The interpreter, as the sandbox sees it.
        program: The folder that holds `inside`, as the sandbox sees it.
        folder: The submission's, likewise.
        channel: Descriptor of the socket.
        user: Who to become, by number; stays who it is if negative.
        output_dim: Number of labels.
        seed: For the agent.
    """
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from inside.play import main; main()"
    return [python, "-I", "-B", "-u", "-c", code, *map(str, (program, folder, channel, user, output_dim, seed))]


def main() -> None:
    """Read the command line and play."""
    folder, channel, user, output_dim, seed = sys.argv[1:]
    become(int(user))
    sys.path.remove(next(entry for entry in sys.path if (Path(entry) / "inside").is_dir()))
    sys.argv[1:] = []
    play(Path(folder), socket.socket(fileno=int(channel)), int(output_dim), int(seed))


def become(user: int) -> None:
    """Give up root, if there is a user to become and this is root."""
    if user >= 0 and os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)


def play(folder: Path, channel: socket.socket, output_dim: int, seed: int) -> None:
    """The conversation: READY, data, TRAINED, data, PREDICTIONS; or what went wrong."""
    try:
        agent = make_agent(load_agent(folder), output_dim, seed)
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
