"""Files by the SHA-256 of what they hold: written once, never changed, shared by all who have the same."""

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
        folder: Made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def put(self, content: bytes) -> str:
        """Keep some bytes; their SHA-256."""
        return self.put_stream(io.BytesIO(content))[0]

    def put_stream(self, stream: BinaryIO) -> tuple[str, int]:
        """Keep what a stream holds; its SHA-256 and size in bytes."""
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
        name = digest.hexdigest()  # a file that is there already becomes young again: see `keep_only`
        target = self.path(name)
        target.parent.mkdir(exist_ok=True)
        os.replace(file.name, target)
        return name, size

    def get(self, digest: str) -> bytes:
        """What a file holds.

        Raises:
            FileNotFoundError: It is not there.
        """
        return self.path(digest).read_bytes()

    def copy(self, digest: str, target: Path) -> None:
        """Copy a file.

        Raises:
            FileNotFoundError: It is not there.
        """
        shutil.copyfile(self.path(digest), target)

    def keep_only(self, digests: Set[str], before: float) -> int:
        """Remove all other files last kept before a time, in seconds since 1970, and what writers that died have left.

        Returns:
            How many were removed.
        """
        count = 0
        for file in self._folder.rglob("*"):
            if file.is_file() and file.name not in digests and file.stat().st_mtime < before:
                file.unlink()
                count += 1
        return count

    def path(self, digest: str) -> Path:
        """Where a file lies."""
        return self._folder / digest[:2] / digest
