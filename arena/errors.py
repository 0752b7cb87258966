"""Errors of the service. `app` translates them to HTTP."""

__all__ = [
    "ArenaError",
    "FilesUnavailableError",
    "ForbiddenError",
    "NoRoomError",
    "NotFoundError",
    "RefusedError",
    "SlowBodyError",
    "TooLargeError",
    "TooManyError",
    "UnauthorizedError",
]


class ArenaError(Exception):
    """Base class. The message is shown to the caller.

    Attributes:
        status: Status of the HTTP response.
    """

    status = 400


class RefusedError(ArenaError):
    """The request is invalid, or not allowed in the current state."""


class UnauthorizedError(ArenaError):
    """The token is missing, unknown, expired or revoked."""

    status = 401


class ForbiddenError(ArenaError):
    """The token has the wrong scope."""

    status = 403


class NotFoundError(ArenaError):
    """The object does not exist, is hidden, or belongs to another user. The three cases look the same to the caller."""

    status = 404


class TooLargeError(ArenaError):
    """An upload has too many bytes."""

    status = 413


class SlowBodyError(ArenaError):
    """A body comes too slowly."""

    status = 408


class NoRoomError(ArenaError):
    """The disk is nearly full."""

    status = 507


class FilesUnavailableError(ArenaError):
    """The object store of the files cannot be reached."""

    status = 503


class TooManyError(ArenaError):
    """A rate limit or a daily limit is exhausted."""

    status = 429
