"""Compiles the allowlist of system calls into a filter for the kernel, with libseccomp.

libseccomp is a shared library of the system (Debian: `libseccomp2`, which `apt` itself needs).
"""

import ctypes
import errno
import os
from collections.abc import Callable
from typing import Any

from permuted_mnist.sandbox.errors import UnsupportedError
from permuted_mnist.sandbox.syscalls import ALLOWED, ALLOWED_BY_ARGUMENT, ArgumentRule

__all__ = ["LIBRARY", "compile_filter"]

LIBRARY = "libseccomp.so.2"

# From <seccomp.h>.
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_BAD_ARCHITECTURE, _OPTIMIZE, _BINARY_TREE = 2, 8, 2
_NOT_EQUAL, _EQUAL, _MASKED_EQUAL = 1, 4, 7


class _Comparison(ctypes.Structure):
    """`struct scmp_arg_cmp`."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def compile_filter() -> bytes:
    """Compile the filter for this machine's native architecture.

    A call that is not on the list fails with ENOSYS. A call by another architecture's numbers, such as a 32-bit one,
    kills the process.

    Returns:
        A BPF program, an array of `struct sock_filter`, as bwrap's `--seccomp` and the kernel take it.

    Raises:
        UnsupportedError: libseccomp is not installed or fails. The message contains the reason.
    """
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise UnsupportedError(f"{LIBRARY} is not installed (Debian: libseccomp2)") from error
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    context = library.seccomp_init(_ERRNO | errno.ENOSYS)
    if not context:
        raise UnsupportedError(f"{LIBRARY} knows no filter for this machine")
    try:
        _fill(library, ctypes.c_void_p(context))
        return _exported(library, ctypes.c_void_p(context))
    finally:
        library.seccomp_release(context)


def _fill(library: Any, context: ctypes.c_void_p) -> None:
    _checked(library.seccomp_attr_set(context, _BAD_ARCHITECTURE, ctypes.c_uint32(_KILL_PROCESS)))
    library.seccomp_attr_set(context, _OPTIMIZE, ctypes.c_uint32(_BINARY_TREE))  # from 2.5; only faster

    def add(action: int, call: int, *comparisons: _Comparison) -> None:
        array = (_Comparison * len(comparisons))(*comparisons)
        _checked(library.seccomp_rule_add_array(context, ctypes.c_uint32(action), call, len(comparisons), array))

    for name in sorted(ALLOWED | ALLOWED_BY_ARGUMENT.keys()):
        call = library.seccomp_syscall_resolve_name(name.encode())
        if call < 0:  # this architecture has no such call, or the library does not know it yet
            continue
        if name in ALLOWED_BY_ARGUMENT:
            _add_by_argument(add, call, ALLOWED_BY_ARGUMENT[name])
        else:
            add(_ALLOW, call)


def _add_by_argument(add: Callable[..., None], call: int, rule: ArgumentRule) -> None:
    for value in rule.values:
        if rule.mask is None:
            add(_ALLOW, call, _Comparison(rule.argument, _EQUAL, value, 0))
        else:
            add(_ALLOW, call, _Comparison(rule.argument, _MASKED_EQUAL, rule.mask, value))
    if rule.refused_with is not None:
        refusal = _ERRNO | getattr(errno, rule.refused_with)
        add(refusal, call, *(_Comparison(rule.argument, _NOT_EQUAL, value, 0) for value in rule.values))


def _exported(library: Any, context: ctypes.c_void_p) -> bytes:
    file = os.memfd_create("filter")
    with os.fdopen(file, "rb") as stream:
        _checked(library.seccomp_export_bpf(context, file))
        stream.seek(0)
        return stream.read()


def _checked(status: int) -> None:
    if status < 0:
        raise UnsupportedError(f"{LIBRARY} refuses: {os.strerror(-status)}")
