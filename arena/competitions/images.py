"""Detects image types by their first bytes. Accepts only types that every browser shows and that contain no scripts."""

from ml_trainer_env.arena.errors import RefusedError

__all__ = ["IMAGE_START", "image_type"]

IMAGE_START = 12
"""Number of bytes that identify the type."""

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}


def image_type(start: bytes) -> str:
    """Detect the media type of a picture.

    Args:
        start: The first `IMAGE_START` bytes, or more.

    Raises:
        RefusedError: The bytes are not of an accepted type.
    """
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    for signature, media_type in _SIGNATURES.items():
        if start.startswith(signature):
            return media_type
    raise RefusedError("a picture should be a PNG, JPEG, GIF or WebP")
