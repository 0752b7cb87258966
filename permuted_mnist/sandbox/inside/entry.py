"""How a program inside the sandbox is started, and how it begins."""

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
"""A function of a module beside this one, as `module:function`."""


def entry_command(
    python: str, program: Path, entry: Entry, folder: Path, channel: int, user: int, arguments: Sequence[object]
) -> list[str]:
    """The command line that calls an entry.

    Args:
        python: The interpreter, as the sandbox sees it.
        program: The folder that holds `inside`, as the sandbox sees it.
        entry: What to call. It calls `enter` first.
        folder: The submission's, likewise.
        channel: Descriptor of the socket.
        user: Who to become, by number; stays who it is if negative.
        arguments: What else the entry is told; it comes as texts.
    """
    module, _, function = entry.partition(":")
    code = f"import sys; sys.path.insert(0, sys.argv.pop(1)); from inside.{module} import {function}; {function}()"
    return [python, "-I", "-B", "-u", "-c", code, *map(str, (program, folder, channel, user, *arguments))]


def enter() -> tuple[Path, socket.socket, list[str]]:
    """Become who to be, leave no trace of how this was started, and let processes of pools find the submission.

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
    """Give up root, if there is a user to become and this is root."""
    if user >= 0 and os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
