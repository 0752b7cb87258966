"""What this machine offers to hold a program in, and what is missing."""

import contextlib
import functools
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from permuted_mnist.sandbox import inside
from permuted_mnist.sandbox.bubblewrap import PROGRAM_SEEN, bubblewrap_command
from permuted_mnist.sandbox.cgroups import open_cgroup
from permuted_mnist.sandbox.errors import UnsupportedError
from permuted_mnist.sandbox.limits import Limits
from permuted_mnist.sandbox.permission import REMEDY, is_denied

__all__ = ["NOBODY", "PROGRAM", "Layers", "find_layers"]

NOBODY = 65534
"""The user that root's programs become."""

PROGRAM = Path(inside.__file__).parent
"""What runs inside, beside a submission."""

_PROBE = "import sys; sys.path.insert(0, sys.argv[1]); from inside.entry import become; become({user}); import numpy"
_PROBE_S = 60.0


@dataclass(frozen=True, slots=True)
class Layers:
    """What holds a program.

    Attributes:
        bubblewrap: The executable that gives namespaces; None if there is none that works.
        cgroup: Version of control groups, 1 or 2; None if there are none for us, and a watchdog measures memory.
        user: The user that programs become, by number; None if they run as whoever started them.
        missing: What is weaker here than it could be, and why, in sentences.
    """

    bubblewrap: str | None
    cgroup: int | None
    user: int | None
    missing: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """What is there, in words."""
        return [
            *(["namespaces (bubblewrap)"] if self.bubblewrap else []),
            f"control group v{self.cgroup}" if self.cgroup else "memory watchdog",
            *([f"user {self.user}"] if self.user is not None else []),
            "rlimits",
            "processor affinity",
            "no new privileges",
        ]


@functools.cache
def find_layers() -> Layers:
    """Try what there is.

    Raises:
        UnsupportedError: This is not Linux; or programs would run as root, with nothing to hold them.
    """
    if sys.platform != "linux":
        raise UnsupportedError(f"submissions are run on Linux only, and this is {sys.platform}")
    missing: list[str] = []
    user = NOBODY if os.geteuid() == 0 else None
    bubblewrap = shutil.which("bwrap")
    reason = _failure(_probe_inside(bubblewrap, user)) if bubblewrap else "it is not installed"
    if reason is not None:
        bubblewrap = None
        denied = is_denied(reason)
        if user is not None and (refused := _failure(_probe(str(PROGRAM.parent), user))) is not None:
            if denied:
                raise UnsupportedError(f"{reason}. {REMEDY}")
            raise UnsupportedError(
                f"submissions would run as root: bubblewrap does not work ({reason}), and another user cannot run "
                f"{sys.executable} ({refused}). Install bubblewrap, or start this as another user"
            )
        whose = "that any user may read" if user is not None else "that you may read"
        missing.append(
            f"no namespaces, since bubblewrap does not work ({reason}): a submission reaches the network, sees other "
            f"processes and reads every file {whose}{f'. {REMEDY}' if denied else ''}"
        )
    version = _cgroup_version()
    if version is None:
        missing.append(
            "no control group: memory is measured every 50 ms and a submission ended when it has too much, and it may "
            "move to other processors than its own"
        )
    return Layers(bubblewrap, version, user, tuple(missing))


def _probe(program: str, user: int | None) -> list[str]:
    return [sys.executable, "-I", "-B", "-c", _PROBE.format(user=-1 if user is None else user), program]


def _probe_inside(bubblewrap: str, user: int | None) -> list[str]:
    binds = {PROGRAM: f"{PROGRAM_SEEN}/{PROGRAM.name}"}
    return bubblewrap_command(bubblewrap, binds, {}, Limits().scratch_bytes, _probe(PROGRAM_SEEN, user))


def _failure(command: Sequence[str]) -> str | None:
    """Why a command fails; None if it does not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_S, cwd="/", check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = done.stderr.strip().splitlines()  # of a traceback the last line alone
    return None if done.returncode == 0 else (said[-1].strip()[-200:] if said else f"status {done.returncode}")


def _cgroup_version() -> int | None:
    with contextlib.suppress(OSError):
        group = open_cgroup(f"permuted-mnist-{secrets.token_hex(8)}", Limits())
        group.remove()
        return group.version
    return None
