"""Places of immutable objects, which stored states are: a folder, and a bucket of S3 or of a store that speaks S3."""

import contextlib
import os
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from ml_trainer_env.server.store.errors import StoreError

__all__ = ["Bucket", "Folder", "Objects", "open_objects"]

_REQUEST_LIMIT_S = 30.0
"""Time limit of a request to a bucket. A state has a few MB."""

_CONNECT_LIMIT_S = 5.0

_PAUSE_S = 60.0
"""After a request failed, further ones fail at once for this time: who waits for a dead store waits once."""


class Objects(Protocol):
    """A place of objects by name, such as `ab/abcd.safetensors`. Methods block. Any thread may call them.

    Attributes:
        free_bytes: Free space of the place, in bytes.
    """

    @property
    def free_bytes(self) -> int: ...

    def get(self, name: str) -> bytes:
        """Return the content of an object.

        Raises:
            FileNotFoundError: There is no such object.
            OSError: The place cannot be reached.
        """
        ...

    def put(self, name: str, content: bytes) -> None:
        """Write an object whole, or not at all.

        Raises:
            OSError: It cannot be written.
        """
        ...

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects. Those that are missing do not matter.

        Raises:
            OSError: They cannot be deleted.
        """
        ...

    def names_before(self, at: float) -> list[str]:
        """Return the names of objects last written before a time, in seconds since 1970.

        Raises:
            OSError: The place cannot be listed.
        """
        ...


def open_objects(place: Path | str, journal: str) -> Objects:
    """Open a place of objects.

    Args:
        place: A folder, which is used as it is; or the text of ML_TRAINER_STATES_URL: a folder, `file:///folder` or
            `s3://bucket/prefix`, in which each journal has a folder of its own.
        journal: Name of the journal's folder.

    Raises:
        StoreError: The place is of an unknown kind, or cannot be used.
    """
    if isinstance(place, Path):
        return Folder(place)
    scheme, mark, rest = place.partition("://")
    if not mark:
        scheme, rest = "file", place
    if scheme == "s3" and rest.strip("/") and not set("@?#") & set(rest):
        return Bucket(f"{rest.strip('/')}/{journal}")
    if scheme == "file" and rest.startswith("/"):
        return Folder(Path(rest) / journal)
    raise StoreError(
        "ML_TRAINER_STATES_URL must be an absolute folder, file:///folder or s3://bucket/prefix, without keys and "
        f"options; got one that begins with {place.partition(':')[0] if ':' in place else place[:1]!r}"
    )


class Folder:
    """A folder, of this machine or shared by several. Files are not flushed: their readers know their checksums.

    Args:
        root: The folder. It is created if it is missing.

    Raises:
        StoreError: It cannot be written.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                pass
        except OSError as error:
            raise StoreError(f"the folder {root} of models cannot be used: {error}") from error

    @property
    def free_bytes(self) -> int:
        """Free space of the disk, in bytes."""
        return shutil.disk_usage(self._root).free

    def get(self, name: str) -> bytes:
        """Return the content of a file."""
        return (self._root / name).read_bytes()

    def put(self, name: str, content: bytes) -> None:
        """Write a file under another name, and then rename it."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def delete(self, names: Sequence[str]) -> None:
        """Delete files."""
        for name in names:
            (self._root / name).unlink(missing_ok=True)

    def names_before(self, at: float) -> list[str]:
        """Return the names of files last written before a time."""
        names = []
        for path in self._root.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < at:
                    names.append(str(path.relative_to(self._root)))
        return names


class Bucket:
    """A part of a bucket. Keys, region and endpoint come from AWS's own variables and files; see `docs/deploy.md`.

    Args:
        root: Bucket and prefix, `bucket/prefix`.

    Raises:
        StoreError: The extra is not installed, or the bucket cannot be written.
    """

    def __init__(self, root: str) -> None:
        try:
            import s3fs  # late: an extra, and its import takes a second
            from fsspec.asyn import sync
        except ModuleNotFoundError as error:
            message = "states in a bucket need the extra [objects]: pip install 'openenv-ml-trainer-env[objects]'"
            raise StoreError(message) from error
        self._sync = sync
        self._files = s3fs.S3FileSystem(
            config_kwargs={
                "connect_timeout": _CONNECT_LIMIT_S,
                "read_timeout": _REQUEST_LIMIT_S,
                "retries": {"mode": "standard", "total_max_attempts": 3},  # a store may answer 500 now and then
            },
            use_listings_cache=False,
        )
        self._root = root
        self._lock = threading.Lock()
        self._failure = ""
        self._paused_until = 0.0
        probe = f"{uuid.uuid4().hex}.part"
        try:
            self.put(probe, b"")
            self.delete([probe])
        except FileNotFoundError as error:
            raise StoreError(f"the bucket s3://{root} cannot be used: {error}") from error
        except OSError as error:
            raise StoreError(str(error)) from error

    @property
    def free_bytes(self) -> int:
        """Free space in bytes: no limit."""
        return sys.maxsize

    def get(self, name: str) -> bytes:
        """Return the content of an object."""
        # One request: with several at a time, s3fs asks for the size first.
        content: bytes = self._request(self._files._cat_file, self._path(name), max_concurrency=1)
        return content

    def put(self, name: str, content: bytes) -> None:
        """Write an object. A bucket shows it whole or not at all."""
        self._request(self._files._pipe_file, self._path(name), content)

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects, by the thousand."""
        for first in range(0, len(names), 1000):
            self._request(self._files._bulk_delete, [self._path(name) for name in names[first : first + 1000]])

    def names_before(self, at: float) -> list[str]:
        """Return the names of objects last written before a time."""
        found = self._request(self._files._find, self._root, detail=True, is_long=True)
        return [path[len(self._root) + 1 :] for path, info in found.items() if info["LastModified"].timestamp() < at]

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _request(self, function: Callable[..., Any], *arguments: Any, is_long: bool = False, **options: Any) -> Any:
        """Run a coroutine of the file system. If it is long, the limit is for each of its requests.

        Raises:
            FileNotFoundError: There is no such object, or no such bucket.
            OSError: The bucket cannot be reached, or it refused.
        """
        with self._lock:
            if time.monotonic() < self._paused_until:
                raise OSError(self._failure)
        try:
            limit_s = None if is_long else _REQUEST_LIMIT_S
            return self._sync(self._files.loop, function, *arguments, timeout=limit_s, **options)
        except FileNotFoundError:
            raise
        except Exception as error:  # boundary: several libraries below raise errors of their own
            reason = str(error) or f"no answer within {_REQUEST_LIMIT_S:g} s"
            with self._lock:
                self._failure = f"the bucket s3://{self._root} cannot be used: {reason}"
                self._paused_until = time.monotonic() + _PAUSE_S
            raise OSError(self._failure) from error
