"""Limits that a process which runs jobs sets for itself."""

import os

__all__ = ["NICENESS", "limit_memory", "lower_priority"]

NICENESS = 5
"""Workers have a lower priority, so that the server's event loop answers while they train."""


def lower_priority() -> None:
    """Set the niceness of workers, unless it is higher already."""
    os.nice(max(0, NICENESS - os.nice(0)))


def limit_memory(megabytes: int) -> None:
    """Make allocations beyond the limit fail. Linux counts private writable memory. macOS enforces nothing."""
    import resource  # not there on Windows

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = megabytes << 20
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
