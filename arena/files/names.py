"""Names of files: plain ones, or none."""

import re
import unicodedata

from ml_trainer_env.arena.errors import RefusedError

__all__ = ["file_name"]

MAX_BYTES = 120

_PLAIN = re.compile(r"\w[\w .+@=-]*")


def file_name(text: str) -> str:
    """A file's name, in Unicode's composed form.

    Raises:
        RefusedError: It holds a slash or another sign that a plain name has not, begins with a dot, or is too long.
    """
    name = unicodedata.normalize("NFC", text)
    if not _PLAIN.fullmatch(name) or name.endswith((" ", ".")) or len(name.encode()) > MAX_BYTES:
        raise RefusedError(
            "a file's name should have letters, digits, spaces and . _ + @ = -, begin with a letter or digit, and "
            f"have {MAX_BYTES} bytes at the most, got {text[:200]!r}"
        )
    return name
