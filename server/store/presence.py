"""Which servers run on a journal: each holds a lock on a file of its own for as long as its process lives.

The operating system drops the lock when the process ends, in whatever way. Nothing here knows episodes.
"""

import contextlib
import os
import sys
import uuid
from pathlib import Path

if sys.platform != "win32":
    import fcntl

__all__ = ["Presence"]


class Presence:
    """A server's lock, and a look at those of others. The lock is taken when `server` is first asked for.

    Args:
        folder: Where the files are; made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: str | None = None
        self._file: int | None = None

    @property
    def server(self) -> str:
        """The name of this server.

        Raises:
            OSError: The file cannot be written.
        """
        if self._server is None:
            self._server, self._file = self._appear()
        return self._server

    def is_alive(self, server: str) -> bool:
        """Whether a server still runs. Where files cannot be locked it is taken to."""
        if server == self._server:
            return True
        path = self._folder / server
        if sys.platform == "win32":
            return path.exists()
        try:
            file = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # whoever cannot look must not conclude that nobody is there
        try:
            return not _lock(file)
        finally:
            os.close(file)

    def sweep(self) -> None:
        """Remove the files of servers that have ended."""
        if sys.platform == "win32":
            return
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                file = os.open(path, os.O_RDWR)
                try:
                    if path.name != self._server and _lock(file):
                        path.unlink(
                            missing_ok=True
                        )  # under the lock: a server that appears finds it gone, or not at all
                finally:
                    os.close(file)

    def close(self) -> None:
        """Take note that this server stops."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                (self._folder / self.server).unlink()
            os.close(self._file)
            self._file = self._server = None

    def _appear(self) -> tuple[str, int]:
        self._folder.mkdir(exist_ok=True)
        self.sweep()
        while True:
            server = uuid.uuid4().hex
            path = self._folder / server
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            if _lock(file) and path.exists():  # another server's sweep may have come between
                return server, file
            os.close(file)


def _lock(file: int) -> bool:
    """Try to lock a file; whether that went well."""
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True
