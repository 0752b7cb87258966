"""Validation of file names."""

import re
import unicodedata

from ml_trainer_env.arena.errors import RefusedError

__all__ = ["file_name"]

MAX_BYTES = 120

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
