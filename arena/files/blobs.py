"""Content-addressed files: stored by SHA-256, never modified, and shared by all users with the same content."""

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Set
from pathlib import Path
from typing import BinaryIO

__all__ = ["Blobs"]

_CHUNK = 1 << 20


class Blobs:
    """A folder of files.

    Args:
        folder: The folder. It is created if it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def put(self, content: bytes) -> str:
        """Store bytes. Returns their SHA-256."""
        return self.put_stream(io.BytesIO(content))[0]

    def put_stream(self, stream: BinaryIO) -> tuple[str, int]:
        """Store the content of a stream. Returns its SHA-256 and its size in bytes."""
        digest, size = hashlib.sha256(), 0
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
            try:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                Path(file.name).unlink()
                raise
        name = digest.hexdigest()  # replacing an existing file renews its time: see `keep_only`
        target = Blobs.path(self, name)
        target.parent.mkdir(exist_ok=True)
        os.replace(file.name, target)
        return name, size

    def get(self, digest: str) -> bytes:
        """Read a file.

        Raises:
            FileNotFoundError: The file does not exist.
        """
        return self.path(digest).read_bytes()

    def open(self, digest: str) -> BinaryIO:
        """Open a file for reading.

        Raises:
            FileNotFoundError: The file does not exist.
        """
        return self.path(digest).open("rb")

    def copy(self, digest: str, target: Path) -> None:
        """Copy a file.

        Raises:
            FileNotFoundError: The file does not exist.
        """
        shutil.copyfile(self.path(digest), target)

    def keep_only(self, digests: Set[str], before: float) -> int:
        """Remove all other files that were last stored before a time, and leftovers of interrupted writes.

        Args:
            digests: SHA-256 of the files to keep.
            before: Time in seconds since 1970.

        Returns:
            Number of removed files.
        """
        count = 0
        for file in self._folder.rglob("*"):
            if file.is_file() and file.name not in digests and file.stat().st_mtime < before:
                file.unlink()
                count += 1
        return count

    def path(self, digest: str) -> Path:
        """Get the path of a file."""
        return self._folder / digest[:2] / digest
