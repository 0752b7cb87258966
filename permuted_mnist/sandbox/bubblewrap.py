"""Builds the command line of bubblewrap, which defines what a sandboxed program sees.

The program sees its own processes, a scratch folder in memory, and read-only the interpreter, its libraries and the
given folders. It has no network and sees nothing else of the host, neither the home folder nor /etc. It has its own
user namespace. bubblewrap creates it, or `launch` if this process is root (see `plan.Plan.mapped_user`).
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["FOLDER_SEEN", "PROGRAM_SEEN", "SCRATCH", "bubblewrap_command"]

FOLDER_SEEN, PROGRAM_SEEN = "/agent", "/program"
"""Paths of a submission and of our program inside the sandbox."""


SCRATCH = "/tmp"

_SYSTEM = ("/bin", "/lib", "/lib64", "/sbin")
_HIDDEN = ("/proc/keys", "/proc/key-users")
"""Lists of keys. They would show keys of other runs with the same user id."""

_LIBRARIES = ("/etc/ld.so.cache", "/etc/alternatives", "/sys/devices/system/cpu")


def bubblewrap_command(
    bubblewrap: str,
    folders: Mapping[Path, str],
    environment: Mapping[str, str],
    scratch_bytes: int,
    program: Sequence[str],
    working_folder: str = SCRATCH,
    filter_file: int | None = None,
    environment_folder: Path | None = None,
) -> list[str]:
    """Build the command line.

    Args:
        bubblewrap: The executable.
        folders: Folders of the host, mapped to their paths inside the sandbox.
        environment: All environment variables of the program.
        scratch_bytes: Size of the scratch folder, and of shared memory.
        program: The program and its arguments.
        working_folder: Working folder inside the sandbox.
        filter_file: File descriptor of the system call filter.
        environment_folder: Virtual environment that the program sees; None for that of this process.
    """
    size = str(scratch_bytes)
    words = [bubblewrap, "--die-with-parent", "--new-session", "--unshare-ipc", "--unshare-pid", "--unshare-net"]
    words += ["--unshare-uts", "--unshare-cgroup-try", "--hostname", "sandbox", "--cap-drop", "ALL"]
    if os.geteuid() == 0:  # in a user namespace that `launch` created; the program itself gives up root there
        words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        words += ["--unshare-user", "--disable-userns", "--uid", "65534", "--gid", "65534"]
    words += ["--ro-bind", "/usr", "/usr"]
    for folder in _SYSTEM:
        linked = Path(folder).is_symlink()
        words += ["--symlink", os.readlink(folder), folder] if linked else ["--ro-bind-try", folder, folder]
    for path in _LIBRARIES:
        words += [*_above(Path(path)), "--ro-bind-try", path, path]
    words += ["--proc", "/proc", "--dev", "/dev"]
    for file in filter(os.path.exists, _HIDDEN):
        words += ["--ro-bind", "/dev/null", file]  # devices cannot be opened there
    words += ["--size", size, "--perms", "1777", "--tmpfs", "/dev/shm"]
    words += ["--size", size, "--perms", "1777", "--tmpfs", SCRATCH]
    # Last, because the mounts above may hide their folders, such as /tmp.
    for prefix in _interpreter(environment_folder):
        words += _bound(prefix, prefix)
    for host, inside in folders.items():
        words += _bound(host, Path(inside))
    words += ["--remount-ro", "/dev", "--remount-ro", "/", "--clearenv"]
    for name, value in environment.items():
        words += ["--setenv", name, value]
    if filter_file is not None:
        words += ["--seccomp", str(filter_file)]
    return [*words, "--chdir", working_folder, "--", *program]


def _interpreter(environment: Path | None) -> list[Path]:
    """List the folders of the interpreter and its packages that are not in /usr."""
    own = {Path(sys.prefix), Path(sys.exec_prefix)} if environment is None else {environment}
    folders = own | {Path(sys.base_prefix)}
    return sorted(folder for folder in folders if not folder.is_relative_to("/usr"))


def _bound(host: Path, inside: Path) -> list[str]:
    """Build the options that bind a folder read-only."""
    return [*_above(inside), "--ro-bind", str(host), str(inside)]


def _above(path: Path) -> list[str]:
    """Build the options that create the parents of a path. By default only root could read them."""
    return [word for folder in reversed(path.parents[:-1]) for word in ("--perms", "0755", "--dir", str(folder))]
