"""What the service refuses, and why. Translated to HTTP once, in `app`."""

__all__ = [
    "ArenaError",
    "ForbiddenError",
    "NoRoomError",
    "NotFoundError",
    "RefusedError",
    "TooLargeError",
    "TooManyError",
    "UnauthorizedError",
]


class ArenaError(Exception):
    """Base of all refusals. The message is for whoever called.

    Attributes:
        status: Of the HTTP response.
    """

    status = 400


class RefusedError(ArenaError):
    """The request makes no sense, or not now."""


class UnauthorizedError(ArenaError):
    """There is no token, or none that is known and valid."""

    status = 401


class ForbiddenError(ArenaError):
    """The token is of the wrong scope."""

    status = 403


class NotFoundError(ArenaError):
    """It is not there; or it is someone else's, or hidden, which must look the same."""

    status = 404


class TooLargeError(ArenaError):
    """An upload has too many bytes."""

    status = 413


class NoRoomError(ArenaError):
    """The disk is nearly full."""

    status = 507


class TooManyError(ArenaError):
    """A limit for a time is used up."""

    status = 429
