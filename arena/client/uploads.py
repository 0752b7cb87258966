"""Uploads of files. A file is read in chunks and never held in memory as a whole."""

import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm  # type: ignore[import-untyped]  # it has no stubs of its own

from ml_trainer_env.arena.client.errors import MLArenaError

__all__ = ["existing", "multipart"]

_CHUNK_BYTES = 1 << 16
_MIN_PROGRESS_BYTES = 1 << 20
"""Smaller files upload too fast for a progress bar."""


def existing(path: str | Path, error: type[MLArenaError]) -> Path:
    """Check that a file exists. Returns its path.

    Raises:
        MLArenaError: The file does not exist. The class is `error`.
    """
    if not Path(path).is_file():
        raise error(f"File not found: {path}")
    return Path(path)


def multipart(name: str, file: BinaryIO, size: int) -> dict[str, Any]:
    """Build a form with one file, as arguments for httpx. The file is read while it is sent."""
    boundary = secrets.token_hex(16)
    quoted = name.replace("\\", "\\\\").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{quoted}"\r\n\r\n'.encode()
    tail = f"\r\n--{boundary}--\r\n".encode()

    def chunks() -> Iterator[bytes]:
        yield head
        hidden = size < _MIN_PROGRESS_BYTES or not sys.stderr.isatty()
        with tqdm(total=size, unit="B", unit_scale=True, desc=name, disable=hidden, leave=False) as bar:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
                bar.update(len(chunk))
        yield tail

    return {
        "content": chunks(),
        "headers": {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + size + len(tail)),
        },
    }
