"""Errors of the sandbox."""

__all__ = [
    "EndedError",
    "FloodedError",
    "GarbledError",
    "OutOfMemoryError",
    "SandboxError",
    "TimedOutError",
    "UnsupportedError",
]


class SandboxError(Exception):
    """Base of all errors of this package."""


class UnsupportedError(SandboxError):
    """The machine does not support the sandbox."""


class TimedOutError(SandboxError):
    """The program exceeded its time limit."""


class OutOfMemoryError(SandboxError):
    """The program exceeded its memory limit and was killed."""


class EndedError(SandboxError):
    """The program ended, or closed its channel, before it answered. The message contains its exit status or signal."""


class FloodedError(SandboxError):
    """The program wrote more than is allowed to its channel or to standard output."""


class GarbledError(SandboxError):
    """The program sent an invalid or unexpected message."""
