"""Shared parts of the package's commands: `--version`, option types, and exit statuses.

Imports no slow modules, so that `--help` is fast.
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
    """A parser that supports `--version` and reports invalid arguments in one line.

    Parsers of subcommands have this class, too. Only the main parser calls `add_version`.
    """

    def add_version(self) -> None:
        """Add `--version`."""
        self.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")

    def error(self, message: str) -> NoReturn:
        """End the process with exit status 2."""
        self.exit(BAD_USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # late: slow to import

        print(f"{parser.prog} {version(DISTRIBUTION)}")  # noqa: T201 - output of the command
        parser.exit()


def port_number(text: str) -> int:
    """Parse a TCP port. 0 means any free port."""
    if not text.isascii() or not text.isdecimal() or not 0 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"a port is a whole number from 0 to 65535, not {text!r}")
    return int(text)


def bound_socket(host: str, port: int) -> socket.socket:
    """Bind a TCP socket for a server. It does not listen yet.

    Raises:
        OSError: The address cannot be bound. The message contains the address and the reason.
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
    """Run a command.

    An error that the user can fix (of this package or of the operating system) is printed in one line to standard
    error. Any other error is a bug and is raised.

    Args:
        prog: Name of the command. The line begins with it.
        work: Does the work and returns the exit status.
        expected: Further error classes that the user can fix.

    Returns:
        The exit status: that of `work`; 2 for an error that the user can fix; 130 after Ctrl-C.
    """
    fixable: tuple[type[Exception], ...] = (MLTrainerError, OSError, *expected)
    try:
        return work()
    except BrokenPipeError:  # as in `... list | head`: the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes standard output again at exit
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except fixable as error:
        print(f"{prog}: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        return BAD_USAGE
