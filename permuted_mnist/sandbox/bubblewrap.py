"""The command line of bubblewrap: what a sandboxed program sees.

Its own processes only, no network, a scratch folder in memory, and read-only the interpreter, its libraries and the
folders that it is given. Nothing else of the host, the home folder and /etc included. Its users are those of a user
namespace of its own: bubblewrap makes one, or `launch` has made one if this is root (see `plan.Plan.mapped_user`).
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["FOLDER_SEEN", "PROGRAM_SEEN", "SCRATCH", "bubblewrap_command"]

FOLDER_SEEN, PROGRAM_SEEN = "/agent", "/program"
"""Where a submission, and what runs beside it, are seen."""


SCRATCH = "/tmp"

_SYSTEM = ("/bin", "/lib", "/lib64", "/sbin")
_HIDDEN = ("/proc/keys", "/proc/key-users")
"""Lists of keys, which name those of others with the same user, of runs that are over, too."""

_LIBRARIES = ("/etc/ld.so.cache", "/etc/alternatives", "/sys/devices/system/cpu")


def bubblewrap_command(
    bubblewrap: str,
    folders: Mapping[Path, str],
    environment: Mapping[str, str],
    scratch_bytes: int,
    program: Sequence[str],
    working_folder: str = SCRATCH,
    filter_file: int | None = None,
) -> list[str]:
    """The command line.

    Args:
        bubblewrap: The executable.
        folders: Folders of the host, and where they are to be seen.
        environment: All variables that there will be.
        scratch_bytes: Size of the scratch folder, and of shared memory.
        program: What to run.
        working_folder: As it is seen inside.
        filter_file: Descriptor that the filter of system calls is read from.
    """
    size = str(scratch_bytes)
    words = [bubblewrap, "--die-with-parent", "--new-session", "--unshare-ipc", "--unshare-pid", "--unshare-net"]
    words += ["--unshare-uts", "--unshare-cgroup-try", "--hostname", "sandbox", "--cap-drop", "ALL"]
    if os.geteuid() == 0:  # in a user namespace that `launch` made; the program gives up root there, by itself
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
        words += ["--ro-bind", "/dev/null", file]  # of a device that cannot be opened there
    words += ["--size", size, "--perms", "1777", "--tmpfs", "/dev/shm"]
    words += ["--size", size, "--perms", "1777", "--tmpfs", SCRATCH]
    # Last, since they may lie in folders that the mounts above hide, such as /tmp.
    for prefix in _interpreter():
        words += _bound(prefix, prefix)
    for host, inside in folders.items():
        words += _bound(host, Path(inside))
    words += ["--remount-ro", "/dev", "--remount-ro", "/", "--clearenv"]
    for name, value in environment.items():
        words += ["--setenv", name, value]
    if filter_file is not None:
        words += ["--seccomp", str(filter_file)]
    return [*words, "--chdir", working_folder, "--", *program]


def _interpreter() -> list[Path]:
    """Folders of the interpreter and its packages, each once, without those in /usr."""
    folders = {Path(prefix) for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    return sorted(folder for folder in folders if not folder.is_relative_to("/usr"))


def _bound(host: Path, inside: Path) -> list[str]:
    """Binds a folder."""
    return [*_above(inside), "--ro-bind", str(host), str(inside)]


def _above(path: Path) -> list[str]:
    """Makes the folders above a path, which bubblewrap would make for root alone."""
    return [word for folder in reversed(path.parents[:-1]) for word in ("--perms", "0755", "--dir", str(folder))]
