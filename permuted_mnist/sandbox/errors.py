"""What ends a sandboxed program before it has answered."""

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
    """There is no sandbox for such a machine."""


class TimedOutError(SandboxError):
    """It took longer than it may."""


class OutOfMemoryError(SandboxError):
    """It took more memory than it may, and was killed for it."""


class EndedError(SandboxError):
    """It ended, or closed its channel, before it had answered. The message tells its exit status or the signal."""


class FloodedError(SandboxError):
    """It wrote more than it may: to its channel, or to standard output."""


class GarbledError(SandboxError):
    """What it sent is not what the conversation allows at this point."""
