"""Reads zip archives of strangers: bounded in files, bytes and ratio, with plain relative paths of plain files only."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from ml_trainer_env.arena.errors import RefusedError
from ml_trainer_env.arena.files.names import file_path, require_distinct

__all__ = ["Archive", "Member", "is_archive", "lay_out", "open_archive"]

MAX_RATIO = 200
"""Bytes of all files for each byte of the archive."""

RATIO_FREE_BYTES = 2**20
"""Smaller archives may have any ratio: one of an empty table can be higher."""

MAX_INDEX_BYTES = 2**20
"""Bytes that are read to list the files. They come before anything is known of their number."""

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Methods whose memory is bounded. That of LZMA is what the archive says."""

_CHUNK = 1 << 16

_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    IndexError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)
"""What `zipfile` raises for archives that are damaged, encrypted or unusual."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive.

    Attributes:
        path: Its validated path within the folder of the submission.
        info: Its entry.
    """

    path: str
    info: zipfile.ZipInfo


class Archive:
    """An open archive whose list of files is valid.

    Args:
        file: The zip file.
        members: Its files.
    """

    def __init__(self, file: zipfile.ZipFile, members: list[Member]) -> None:
        self._file = file
        self.members = members

    @contextmanager
    def reading(self, member: Member) -> Iterator[BinaryIO]:
        """Open a file. No more bytes come than its entry says.

        Raises:
            RefusedError: The archive is damaged. This is noticed in the block, which should do nothing but read.
        """
        try:
            with self._file.open(member.info) as stream:
                yield cast(BinaryIO, stream)  # it reads like one
        except _DAMAGED as error:
            raise _damaged(error) from error


def is_archive(name: str) -> bool:
    """Whether a file of this name is unpacked."""
    return name.lower().endswith(".zip")


def open_archive(stream: BinaryIO, size: int, max_files: int, max_bytes: int) -> Archive:
    """Read the list of files of a zip archive, and check it. Nothing is unpacked.

    Hidden files, `__pycache__` and `__MACOSX` are left out. If all files are in one folder, and agent.py is directly in
    it, paths are those within this folder.

    Args:
        stream: The archive.
        size: Its size in bytes.
        max_files: Maximum number of files.
        max_bytes: Maximum size of all unpacked files together, in bytes.

    Raises:
        RefusedError: It is no zip archive, or has too many files or bytes, two files of one name, a path that is
            absolute or leads upward, a link or a device, or an encrypted file.
    """
    limited = _Limited(stream, MAX_INDEX_BYTES)
    try:
        file = zipfile.ZipFile(limited)
    except (*_DAMAGED, OSError) as error:
        raise _damaged(error) from error
    limited.left = None
    entries = [info for info in file.infolist() if not _is_left_out(info.orig_filename)]
    for info in entries:
        _check(info)
    files = [info for info in entries if not info.orig_filename.endswith("/")]
    paths = lay_out([info.orig_filename for info in files])
    found = [Member(path, info) for path, info in zip(paths, files, strict=True) if path is not None]
    if not found:
        raise RefusedError("the archive has no files")
    if len(found) > max_files:
        raise RefusedError(f"a submission may have {max_files} files at the most, and the archive has {len(found)}")
    total = sum(member.info.file_size for member in found)
    if total > max_bytes:
        raise RefusedError(f"the files of an archive may have {max_bytes} bytes at the most together, got {total}")
    if total > max(RATIO_FREE_BYTES, MAX_RATIO * size):
        raise RefusedError(f"an archive may be packed {MAX_RATIO} to 1 at the most, got {total} bytes of {size}")
    require_distinct(member.path for member in found)
    return Archive(file, found)


def lay_out(names: Sequence[str]) -> list[str | None]:
    """Get the paths of files in a submission from their names in an archive or a folder.

    If all files are in one folder, and agent.py is directly in it, paths are those within this folder.

    Args:
        names: Names of the files, `folder/models/net.py`.

    Returns:
        The path of each file; None for a file that is left out.

    Raises:
        RefusedError: A path is not valid.
    """
    paths = [None if _is_left_out(name) else file_path(name) for name in names]
    tops = {path.partition("/")[0] for path in paths if path is not None}
    if len(tops) == 1 and f"{(top := next(iter(tops)))}/agent.py" in paths:
        return [None if path is None else path.removeprefix(f"{top}/") for path in paths]
    return paths


def _is_left_out(name: str) -> bool:
    parts = name.split("/")
    return any(
        part in {"__MACOSX", "__pycache__"} or (part.startswith(".") and part not in {".", ".."}) for part in parts
    )


def _check(info: zipfile.ZipInfo) -> None:
    """Check that an entry is a plain file or a folder with a valid path.

    Raises:
        RefusedError: It is not, or its path is not valid.
    """
    path = file_path(info.orig_filename.removesuffix("/"))
    if stat.S_IFMT(info.external_attr >> 16) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise RefusedError(f"an archive should have files and folders only, and {path} is a link or a device")
    if info.flag_bits & 0x1:
        raise RefusedError(f"the files of an archive should not be encrypted, and {path} is")
    if info.compress_type not in _METHODS:
        raise RefusedError(f"an archive should be packed by deflate, as usual, and {path} is not")


def _damaged(error: Exception) -> RefusedError:
    return RefusedError(f"the archive is no zip file, or is damaged: {str(error)[:200] or type(error).__name__}")


class _Limited(io.RawIOBase):
    """A stream of which a number of bytes can be read in all. `left` is what is left of it; None for no limit."""

    def __init__(self, stream: BinaryIO, left: int) -> None:
        self._stream = stream
        self.left: int | None = left

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def read(self, size: int = -1) -> bytes:
        if self.left is None:
            return self._stream.read(size)
        start = self._stream.tell()
        wanted = self._stream.seek(0, 2) - start if size < 0 else size
        self._stream.seek(start)
        if wanted > self.left:
            raise RefusedError(f"the list of files of an archive should have {MAX_INDEX_BYTES} bytes at the most")
        self.left -= wanted
        return self._stream.read(wanted)
