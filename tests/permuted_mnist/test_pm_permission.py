"""Where bubblewrap is installed and may make no namespaces, the message is the reason and the remedy."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from permuted_mnist.sandbox.permission import REMEDY, is_denied

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")

AS_A_CONTAINER_DOES = """
import ctypes, os, struct, sys

LOAD, EQUALS, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
CLONE, UNSHARE, CLONE3 = 56, 272, 435  # x86_64
NUMBER, FIRST_ARGUMENT = 0, 16
NAMESPACES = 0x7E020000
ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026

program = b"".join(struct.pack("HBBI", *line) for line in [
    (LOAD, 0, 0, NUMBER),
    (EQUALS, 5, 0, CLONE3),
    (EQUALS, 1, 0, CLONE),
    (EQUALS, 0, 2, UNSHARE),
    (LOAD, 0, 0, FIRST_ARGUMENT),
    (ANY_BIT, 2, 0, NAMESPACES),
    (RETURN, 0, 0, ALLOW),
    (RETURN, 0, 0, ENOSYS),
    (RETURN, 0, 0, EPERM),
])
held = ctypes.create_string_buffer(program, len(program))
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_void_p)]
filter = Filter(len(program) // 8, ctypes.addressof(held))
assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Refuses new namespaces, as the default profiles of Docker and podman do, and becomes another program."""

needs_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of system calls")


def refused(*command: str) -> "subprocess.CompletedProcess[str]":
    """A command where no namespaces can be made."""
    return subprocess.run(
        [sys.executable, "-c", AS_A_CONTAINER_DOES, *command], capture_output=True, text=True, check=False
    )


@needs_x86
def test_what_bubblewrap_says_where_namespaces_are_refused_is_known_as_a_denial() -> None:
    done = refused(shutil.which("bwrap") or "", "--ro-bind", "/", "/", "true")

    assert done.returncode != 0
    assert is_denied(done.stderr.strip()), done.stderr


@needs_x86
def test_a_command_that_is_refused_namespaces_tells_the_reason_and_the_remedy(tmp_path: Path) -> None:
    """Either there is no sandbox at all, which is one line, or it is weaker, which the result says."""
    command = ["-m", "permuted_mnist", "evaluate", "random", "--episodes", "1", "--out", str(tmp_path)]
    done = refused(sys.executable, *command)

    assert "Traceback" not in done.stdout + done.stderr
    if done.returncode == 2:
        assert done.stderr.startswith(("permuted-mnist: bwrap: ", "permuted-mnist: namespaces: "))
        assert done.stderr.strip().splitlines()[-1].endswith(REMEDY)
        assert len(done.stderr.strip().splitlines()) == 1
    else:
        assert REMEDY in done.stdout


@pytest.mark.parametrize(
    ("reason", "denied"),
    [
        ("bwrap: Creating new namespace failed: Operation not permitted", True),
        ("bwrap: No permissions to create new namespace, likely because the kernel does not allow it", True),
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", True),
        ("bwrap: setting up uid map: Permission denied", True),
        ("bwrap: Creating new namespace failed: nesting depth exceeded (ENOSPC: No space left on device)", True),
        ("bwrap: execvp python: No such file or directory", False),
        ("ModuleNotFoundError: No module named 'numpy'", False),
        ("it is not installed", False),
    ],
)
def test_a_denial_is_told_from_other_failures(reason: str, denied: bool) -> None:
    assert is_denied(reason) is denied
