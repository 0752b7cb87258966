"""Settings of the C library's memory allocator for a process that handles states of megabytes."""

import ctypes
import os
from contextlib import suppress

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Parameters of glibc's `mallopt`; see malloc.h."""

_OPTIONS = {_M_MMAP_THRESHOLD: 32 << 20, _M_TRIM_THRESHOLD: 64 << 20, _M_ARENA_MAX: 4}
"""Blocks up to 32 MB, the largest value that glibc takes, come from its heaps. Each of four heaps keeps up to 64 MB."""


def keep_freed_memory() -> None:
    """Let the allocator keep freed memory for the next state.

    Otherwise it maps memory anew for each array, and the system clears each page: packing a state then takes five times
    as long. Has no effect on other C libraries than glibc, or if the environment has settings of the allocator.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    with suppress(OSError, AttributeError, TypeError):  # there is no mallopt, or no library without a name
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in _OPTIONS.items():
            mallopt(parameter, value)
