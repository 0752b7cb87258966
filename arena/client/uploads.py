"""Files on their way to a service: read piece by piece, with a progress bar, never whole in memory."""

import inspect
import secrets
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm  # type: ignore[import-untyped]  # it has no stubs of its own

from ml_trainer_env.arena.client.errors import MLArenaError, SubmissionError

__all__ = ["existing", "multipart", "source_of"]

_PIECE = 1 << 16
_SHOWN_BYTES = 1 << 20
"""Smaller files are gone before a bar could be read."""


def existing(path: str | Path, error: type[MLArenaError]) -> Path:
    """A file's path.

    Raises:
        MLArenaError: As `error` says: there is no such file.
    """
    if not Path(path).is_file():
        raise error(f"File not found: {path}")
    return Path(path)


def source_of(agent: type[Any]) -> str:
    """A class's source, as far to the left as it goes, so that it stands alone in a file.

    Raises:
        SubmissionError: It is no class, or its source is not to be had.
    """
    if not inspect.isclass(agent):
        raise SubmissionError(f"agent should be a class, got {agent!r}")
    try:
        return textwrap.dedent(inspect.getsource(agent))
    except (OSError, TypeError) as error:
        raise SubmissionError(f"the source of {agent.__name__} is not to be had: {error}") from error


def multipart(name: str, file: BinaryIO, size: int) -> dict[str, Any]:
    """A form with one file, as arguments for httpx: its length is known, its content is read while it is sent."""
    boundary = secrets.token_hex(16)
    quoted = name.replace("\\", "\\\\").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{quoted}"\r\n\r\n'.encode()
    tail = f"\r\n--{boundary}--\r\n".encode()

    def pieces() -> Iterator[bytes]:
        yield head
        hidden = size < _SHOWN_BYTES or not sys.stderr.isatty()
        with tqdm(total=size, unit="B", unit_scale=True, desc=name, disable=hidden, leave=False) as bar:
            while piece := file.read(_PIECE):
                yield piece
                bar.update(len(piece))
        yield tail

    return {
        "content": pieces(),
        "headers": {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + size + len(tail)),
        },
    }
