"""Detects which servers of a journal are alive. Each server locks a file of its own while its process runs.

The operating system releases the lock when the process ends, also after a crash.
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
    """The lock of this server, and checks of other servers' locks. The first read of `server` takes the lock.

    Args:
        folder: Folder of the lock files. It is created when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: str | None = None
        self._file: int | None = None

    @property
    def server(self) -> str:
        """The unique name of this server.

        Raises:
            OSError: The lock file cannot be written.
        """
        if self._server is None:
            self._server, self._file = self._register()
        return self._server

    def is_alive(self, server: str) -> bool:
        """Whether a server is running. On Windows, whether its file exists."""
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
            return True  # unreadable, so the server may be alive
        try:
            return not _try_lock(file)
        finally:
            os.close(file)

    def sweep(self) -> None:
        """Delete the files of servers that have ended."""
        if sys.platform == "win32":
            return
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                file = os.open(path, os.O_RDWR)
                try:
                    if path.name != self._server and _try_lock(file):
                        # Under the lock: `_register` checks that its file still exists.
                        path.unlink(missing_ok=True)
                finally:
                    os.close(file)

    def close(self) -> None:
        """Release the lock and delete its file."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                (self._folder / self.server).unlink()
            os.close(self._file)
            self._file = self._server = None

    def _register(self) -> tuple[str, int]:
        self._folder.mkdir(exist_ok=True)
        self.sweep()
        while True:
            server = uuid.uuid4().hex
            path = self._folder / server
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            if _try_lock(file) and path.exists():  # another server's sweep may have deleted it
                return server, file
            os.close(file)


def _try_lock(file: int) -> bool:
    """Try to lock a file. Return whether the lock was taken."""
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True
