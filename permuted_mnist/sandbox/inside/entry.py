"""Starts our program inside the sandbox."""

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NewType

from . import pools
from .pools.submission import FOLDER_VARIABLE

__all__ = ["Entry", "become", "enter", "entry_command"]


Entry = NewType("Entry", str)
"""A function of a module in this folder, as `module:function`."""


def entry_command(
    python: str, program: Path, entry: Entry, folder: Path, channel: int, user: int, arguments: Sequence[object]
) -> list[str]:
    """Build the command line that calls an entry.

    Args:
        python: Path of the interpreter inside the sandbox.
        program: Path, inside the sandbox, of the folder that contains `inside`.
        entry: The function to call. It calls `enter` first.
        folder: Path of the submission's folder inside the sandbox.
        channel: File descriptor of the socket.
        user: Id of the user to switch to; negative for no switch.
        arguments: Further arguments. The entry receives them as strings.
    """
    module, _, function = entry.partition(":")
    code = f"import sys; sys.path.insert(0, sys.argv.pop(1)); from inside.{module} import {function}; {function}()"
    return [python, "-I", "-B", "-u", "-c", code, *map(str, (program, folder, channel, user, *arguments))]


def enter() -> tuple[Path, socket.socket, list[str]]:
    """Switch the user, remove our start arguments, and let pool processes find the submission.

    Returns:
        The submission's folder, the channel, and the arguments.
    """
    folder, channel, user, *arguments = sys.argv[1:]
    become(int(user))
    sys.path.remove(next(entry for entry in sys.path if (Path(entry) / "inside").is_dir()))
    sys.path.insert(0, str(Path(pools.__file__).parent))
    os.environ[FOLDER_VARIABLE] = folder
    sys.argv[1:] = []
    return Path(folder), socket.socket(fileno=int(channel)), arguments


def become(user: int) -> None:
    """Switch from root to a user. Does nothing if `user` is negative or this process is not root."""
    if user >= 0 and os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
