"""Files in a bucket of S3, or of a store that speaks S3, for services and workers on several machines.

The bucket has every file under its SHA-256. A folder of this machine is a cache of it: a file that is read is fetched
once and compared with its SHA-256.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ml_trainer_env.arena.errors import FilesUnavailableError
from ml_trainer_env.arena.files.blobs import Blobs
from ml_trainer_env.server.store.errors import StoreError
from ml_trainer_env.server.store.objects import Bucket

__all__ = ["BucketBlobs"]

_KEPT_S = 24 * 3600.0
"""A file of the cache that nobody has read for this long is removed when the service starts."""


class BucketBlobs(Blobs):
    """The files of a bucket.

    Args:
        root: Bucket and prefix, `bucket/prefix`.
        cache: Folder of this machine for copies. It is created if it does not exist.

    Raises:
        FilesUnavailableError: The extra [objects] is not installed, or the bucket cannot be written.
    """

    def __init__(self, root: str, cache: Path) -> None:
        super().__init__(cache)
        with _translated():
            self._bucket = _FileBucket(root)

    def put_stream(self, stream: BinaryIO) -> tuple[str, int]:
        """Store the content of a stream. Returns its SHA-256 and its size in bytes when the bucket has it."""
        digest, size = super().put_stream(stream)
        with _translated():
            self._bucket.upload(super().path(digest), _name(digest))  # a known file, too: see `keep_only`
        return digest, size

    def path(self, digest: str) -> Path:
        """Get the path of a copy of a file. Fetches it if this machine has none.

        Raises:
            FileNotFoundError: The file does not exist.
            FilesUnavailableError: The bucket cannot be reached, or its file is damaged.
        """
        path = super().path(digest)
        try:
            os.utime(path)
        except FileNotFoundError:
            self._fetch(digest, path)
        return path

    def keep_only(self, digests: Set[str], before: float) -> int:
        """Remove all other files of the bucket that were last stored before a time, and unused copies."""
        super().keep_only(frozenset(), time.time() - _KEPT_S)
        with _translated():
            old = [name for name in self._bucket.names_before(before) if name.rpartition("/")[2] not in digests]
            self._bucket.delete(old)
        return len(old)

    def _fetch(self, digest: str, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder, _translated():
            copy = Path(folder) / digest
            self._bucket.download(_name(digest), copy)
            with copy.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    raise OSError(f"the file {digest} of the bucket is damaged")
            os.replace(copy, path)


class _FileBucket(Bucket):
    """A bucket from and to which files are copied part by part. The limit of time is that of each request."""

    def upload(self, path: Path, name: str) -> None:
        """Write an object. A bucket shows it whole or not at all."""
        self._request(self._files._put_file, str(path), self._path(name), is_long=True)

    def download(self, name: str, path: Path) -> None:
        """Copy an object to a file.

        Raises:
            FileNotFoundError: There is no such object.
            OSError: The bucket cannot be reached.
        """
        self._request(self._files._get_file, self._path(name), str(path), is_long=True)


@contextmanager
def _translated() -> Iterator[None]:
    """Translate errors of the bucket. That a file does not exist is no error of the bucket."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, StoreError) as error:
        raise FilesUnavailableError(f"the files cannot be reached just now: {error}") from error


def _name(digest: str) -> str:
    return f"{digest[:2]}/{digest}"
