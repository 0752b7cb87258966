"""Finds the sandbox layers that this machine supports, and those that are missing."""

import contextlib
import functools
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from permuted_mnist.sandbox import inside
from permuted_mnist.sandbox.bubblewrap import PROGRAM_SEEN, bubblewrap_command
from permuted_mnist.sandbox.cgroups import open_cgroup
from permuted_mnist.sandbox.errors import UnsupportedError
from permuted_mnist.sandbox.limits import Limits
from permuted_mnist.sandbox.permission import REMEDY, is_denied
from permuted_mnist.sandbox.plan import Plan, filter_file, launch_command

__all__ = ["NOBODY", "PROGRAM", "Layers", "find_layers"]

NOBODY = 65534
"""Id of the user that programs run as if this process is root."""

PROGRAM = Path(inside.__file__).parent
"""Our code that runs inside the sandbox, together with a submission."""

_PROBE = "import sys; sys.path.insert(0, sys.argv[1]); from inside.entry import become; become({user}); import numpy"
_PROBE_S = 60.0


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers of the sandbox.

    Attributes:
        bubblewrap: The bubblewrap executable, which provides namespaces; None if it does not work.
        cgroup: Version of control groups, 1 or 2; None if they are not available and a watchdog measures memory.
        user: Id of the user that programs run as; None for the current user.
        missing: Sentences about missing protections and their reasons.
        system_calls: Filter that allows the system calls in `syscalls.ALLOWED`; None if it is not available.
        environment: Virtual environment whose interpreter and packages programs have; None for those of this process.
            It must be of the same Python, and have NumPy.
    """

    bubblewrap: str | None
    cgroup: int | None
    user: int | None
    missing: tuple[str, ...] = ()
    system_calls: bytes | None = field(default=None, repr=False)
    environment: Path | None = None

    @property
    def python(self) -> str:
        """The interpreter of programs."""
        return sys.executable if self.environment is None else str(self.environment / "bin" / "python")

    @property
    def names(self) -> list[str]:
        """The available layers in words."""
        return [
            *(["namespaces (bubblewrap)"] if self.bubblewrap else []),
            *(["system call allowlist (seccomp)"] if self.system_calls else []),
            f"control group v{self.cgroup}" if self.cgroup else "memory watchdog",
            *([f"user {self.user}"] if self.user is not None else []),
            "rlimits",
            "processor affinity",
            "no new privileges",
        ]


@functools.cache
def find_layers() -> Layers:
    """Test which layers work on this machine.

    Raises:
        UnsupportedError: This is not Linux, or programs would run as root without protection.
    """
    if sys.platform != "linux":
        raise UnsupportedError(f"submissions are run on Linux only, and this is {sys.platform}")
    missing: list[str] = []
    user = NOBODY if os.geteuid() == 0 else None
    system_calls = None
    try:
        system_calls = _compile_tested_filter()
    except UnsupportedError as error:
        missing.append(
            f"no allowlist of system calls, since {error}: a submission can make every system call of the kernel, and "
            "can lock files of the host that it can read"
        )
    bubblewrap = shutil.which("bwrap")
    reason = _failure_reason(_probe_inside(bubblewrap, user)) if bubblewrap else "it is not installed"
    if reason is not None:
        bubblewrap = None
        denied = is_denied(reason)
        if user is not None and (refused := _failure_reason(_probe(str(PROGRAM.parent), user))) is not None:
            if denied:
                raise UnsupportedError(f"{reason}. {REMEDY}")
            raise UnsupportedError(
                f"submissions would run as root: bubblewrap does not work ({reason}), and another user cannot run "
                f"{sys.executable} ({refused}). Install bubblewrap, or start this as another user"
            )
        whose = "that any user may read" if user is not None else "that you may read"
        reaches = "" if system_calls else "reaches the network, "
        missing.append(
            f"no namespaces, since bubblewrap does not work ({reason}): a submission {reaches}sees other processes and "
            f"reads every file {whose}{f'. {REMEDY}' if denied else ''}"
        )
    version = _cgroup_version()
    if version is None:
        missing.append(
            "no control group: memory is measured every 50 ms and a submission ended when it has too much, and it may "
            "move to other processors than its own"
        )
    return Layers(bubblewrap, version, user, tuple(missing), system_calls)


def _compile_tested_filter() -> bytes:
    """Compile the system call filter and test it.

    Raises:
        UnsupportedError: The filter cannot be compiled, or the kernel refuses it.
    """
    from permuted_mnist.sandbox.seccomp import compile_filter  # late: its constants exist only on Linux

    compiled = compile_filter()
    file = filter_file(compiled)
    try:
        plan = Plan([sys.executable, "-I", "-S", "-c", ""], {}, "/", filter=file)
        if (refused := _failure_reason(launch_command(plan), file)) is not None:
            raise UnsupportedError(f"the kernel does not take the filter ({refused})")
    finally:
        os.close(file)
    return compiled


def _probe(program: str, user: int | None) -> list[str]:
    return [sys.executable, "-I", "-B", "-c", _PROBE.format(user=-1 if user is None else user), program]


def _probe_inside(bubblewrap: str, user: int | None) -> list[str]:
    binds = {PROGRAM: f"{PROGRAM_SEEN}/{PROGRAM.name}"}
    command = bubblewrap_command(bubblewrap, binds, {}, Limits().scratch_bytes, _probe(PROGRAM_SEEN, user))
    return launch_command(Plan(command, {}, "/", mapped_user=user))


def _failure_reason(command: Sequence[str], *files: int) -> str | None:
    """Run a command. Returns the reason if it fails, otherwise None."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PROBE_S, cwd="/", check=False, pass_fds=files
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = done.stderr.strip().splitlines()  # only the last line of a traceback is used
    return None if done.returncode == 0 else (said[-1].strip()[-200:] if said else f"status {done.returncode}")


def _cgroup_version() -> int | None:
    with contextlib.suppress(OSError):
        group = open_cgroup(f"permuted-mnist-{secrets.token_hex(8)}", Limits())
        group.remove()
        return group.version
    return None
