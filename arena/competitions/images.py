"""Which bytes are a picture: kinds that every browser shows and none runs, by how they begin."""

from ml_trainer_env.arena.errors import RefusedError

__all__ = ["IMAGE_START", "image_type"]

IMAGE_START = 12
"""Bytes that tell the kind."""

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}


def image_type(start: bytes) -> str:
    """The media type of a picture.

    Args:
        start: Its first `IMAGE_START` bytes, or more.

    Raises:
        RefusedError: It is none, or one of another kind.
    """
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    for signature, media_type in _SIGNATURES.items():
        if start.startswith(signature):
            return media_type
    raise RefusedError("a picture should be a PNG, JPEG, GIF or WebP")
