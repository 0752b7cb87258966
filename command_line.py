"""What the package's commands share: `--version`, types of options, and how a command ends.

Imports nothing that is slow: `--help` of a command must not wait for libraries that it does not use.
"""

import argparse
import os
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

from ml_trainer_env.errors import MLTrainerError

__all__ = ["CommandParser", "bound_socket", "port_number", "run_command"]

DISTRIBUTION = "openenv-ml-trainer-env"

BAD_USAGE = 2
INTERRUPTED = 130


class CommandParser(argparse.ArgumentParser):
    """A parser with `--version`, that says what is wrong with the arguments in one line.

    Parsers of subcommands are of this class too, and have no `--version` of their own.
    """

    def add_version(self) -> None:
        """Add `--version`."""
        self.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")

    def error(self, message: str) -> NoReturn:
        """End the process with exit status 2."""
        self.exit(BAD_USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # late: it takes as long to import as argparse itself

        print(f"{parser.prog} {version(DISTRIBUTION)}")  # noqa: T201 - the answer
        parser.exit()


def port_number(text: str) -> int:
    """An option's type: a TCP port, 0 for any that is free."""
    if not text.isascii() or not text.isdecimal() or not 0 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"a port is a whole number from 0 to 65535, not {text!r}")
    return int(text)


def bound_socket(host: str, port: int) -> socket.socket:
    """Bind a TCP socket for a server. It does not listen yet.

    Raises:
        OSError: The address cannot be bound. The message names it, and the reason.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
        return listener
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"cannot listen on {host} port {port}: {reason}") from error


def run_command(prog: str, work: Callable[[], int], expected: tuple[type[Exception], ...] = ()) -> int:
    """Do a command's work.

    An error that a user can mend (of this package or of the operating system) is shown in one line on standard error.
    Any other error is a bug, and keeps its traceback.

    Args:
        prog: The command's name, with which the line begins.
        work: Returns the exit status.
        expected: Further errors that a user can mend.

    Returns:
        The exit status: that of `work`; 2 for an error that a user can mend; 130 after Ctrl-C.
    """
    mendable: tuple[type[Exception], ...] = (MLTrainerError, OSError, *expected)
    try:
        return work()
    except BrokenPipeError:  # as in `... list | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at the end
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except mendable as error:
        print(f"{prog}: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        return BAD_USAGE
