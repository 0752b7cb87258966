"""Validation of file names, and of paths within a folder."""

import re
import unicodedata
from collections.abc import Iterable

from ml_trainer_env.arena.errors import RefusedError

__all__ = ["file_name", "file_path", "require_distinct"]

MAX_BYTES = 120
"""Length of a name, and of a path."""

_PLAIN = re.compile(r"\w[\w .+@=-]*")


def file_name(text: str) -> str:
    """Validate a file name. Returns it in Unicode's composed form (NFC).

    Raises:
        RefusedError: It contains a slash or another forbidden character, begins with a dot, or is too long.
    """
    name = unicodedata.normalize("NFC", text)
    if not _PLAIN.fullmatch(name) or name.endswith((" ", ".")) or len(name.encode()) > MAX_BYTES:
        raise RefusedError(
            "a file's name should have letters, digits, spaces and . _ + @ = -, begin with a letter or digit, and "
            f"have {MAX_BYTES} bytes at the most, got {text[:200]!r}"
        )
    return name


def file_path(text: str) -> str:
    """Validate a path of a file within a folder, such as `models/net.py`. Returns it in Unicode's composed form (NFC).

    Raises:
        RefusedError: One of its parts is not a valid name (see `file_name`), as in an absolute path or one that leads
            upward, or the path is too long.
    """
    path = "/".join(map(file_name, text[: 4 * MAX_BYTES].split("/")))
    if len(text) > len(text[: 4 * MAX_BYTES]) or len(path.encode()) > MAX_BYTES:
        raise RefusedError(f"a file's path should have {MAX_BYTES} bytes at the most, got {text[:200]!r}")
    return path


def require_distinct(paths: Iterable[str]) -> None:
    """Check that files can be in one folder on every system.

    Args:
        paths: Valid paths of the files.

    Raises:
        RefusedError: Two paths are the same, or differ only in case or in the Unicode form of their letters, or one
            is both a file and a folder.
    """
    found: dict[str, str] = {}
    for path in paths:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder = f"{'/'.join(parts[:depth])}/"
            if found.setdefault(_key(folder), folder) != folder:
                raise _clash(folder, found[_key(folder)])
        if (known := found.setdefault(_key(path), path)) is not path:
            raise _clash(path, known)


def _key(path: str) -> str:
    """Get what paths have in common that some system takes for the same."""
    folded = unicodedata.normalize("NFKC", path.rstrip("/")).casefold()
    return unicodedata.normalize("NFKC", folded)


def _clash(path: str, known: str) -> RefusedError:
    if path == known:
        return RefusedError(
            f"two files would be called {path}. Send folders as a .zip archive, which keeps the paths of its files"
        )
    return RefusedError(f"{known} and {path} would be the same file on some systems: rename one of them")
