"""Confines itself, then becomes the program that it was given; or stays, and watches over it.

    python -I -S launch.py PLAN     (JSON; see `plan.Plan`)

A script that stands alone and imports little, since it is started for each run. It is not to be imported. Without a
namespace of processes somebody must end what a program leaves behind: then this process adopts all orphans below it
and kills them when the program ends, when it is told to (SIGTERM), or when its own parent dies.
"""

import contextlib
import ctypes
import errno
import json
import os
import platform
import resource
import signal
import sys
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x00020000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_RELATIME = 1, 32, 4096, 1 << 21
KEYCTL_JOIN_SESSION_KEYRING = 1
KEYCTL_NUMBERS = {"x86_64": 250, "i686": 288, "armv7l": 311, "ppc64le": 271, "s390x": 280}
KEYCTL_NUMBER_ELSEWHERE = 219

LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Confine, then run."""
    plan = json.loads(sys.argv[1])
    for file in plan["cgroup_files"]:
        with open(file, "w") as stream:
            stream.write("0")
    os.sched_setaffinity(0, plan["cpus"])
    for name, bound in plan["rlimits"].items():
        resource.setrlimit(getattr(resource, name), (bound, bound))
    if plan["mapped_user"] is not None:
        enter_user_namespace(plan["mapped_user"])
    enter_session_keyring()
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM if plan["watch_over"] else signal.SIGKILL)
    if os.getppid() != plan["parent"]:
        sys.exit("the parent died")
    if plan["watch_over"]:
        watch_over(plan)
    become(plan)


def become(plan: dict[str, Any]) -> None:
    """Turn into the program."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    os.chdir(plan["folder"])
    if plan["filter"] >= 0:
        load_filter(plan["filter"])
    os.execve(plan["command"][0], plan["command"], plan["environment"])


def enter_user_namespace(user: int) -> None:
    """Enter a new user namespace in which there are root and one other user, both by their own numbers, and no others.

    This process keeps root's rights over the files of these two and loses all others that it has outside. Keyrings of
    users belong to the namespace: those of the host, and of other runs, are out of reach. If the kernel makes none for
    this process, it ends with the reason.
    """
    this, (wait_end, go_end) = os.getpid(), os.pipe()
    helper = os.fork()  # a namespace's map is written from outside of it
    if helper == 0:
        os.close(go_end)
        go = os.read(wait_end, 1)
        if go:
            for kind in ("uid", "gid"):
                with open(f"/proc/{this}/{kind}_map", "w") as stream:
                    stream.write(f"0 0 1\n{user} {user} 1\n")
        os._exit(0)
    os.close(wait_end)
    try:
        called("unshare", CLONE_NEWUSER | CLONE_NEWNS)
    except OSError as error:
        sys.exit(f"namespaces: {os.strerror(error.errno or 0)}")
    os.write(go_end, b"x")
    os.close(go_end)
    if os.waitpid(helper, 0)[1] != 0:
        sys.exit("the users of a new user namespace cannot be mapped")
    # No namespaces below this one; the filter of system calls refuses them besides.
    with contextlib.suppress(OSError), open("/proc/sys/user/max_user_namespaces", "w") as stream:
        stream.write("0")
    # Devices are shared with the host: they are written to all the same, but their times of change stay as they are.
    kept = os.statvfs("/dev").f_flag & 0b1111  # no setuid, devices or programs: by the same numbers as for `mount`
    flags = kept | MS_REMOUNT | MS_BIND | MS_RDONLY | MS_RELATIME
    with contextlib.suppress(OSError):
        called("mount", b"none", b"/dev", None, flags, None)


def enter_session_keyring() -> None:
    """Leave the session keyring of whoever started this for a new, empty one."""
    number = KEYCTL_NUMBERS.get(platform.machine(), KEYCTL_NUMBER_ELSEWHERE)
    try:
        called("syscall", number, KEYCTL_JOIN_SESSION_KEYRING, None)
    except OSError as error:
        # A kernel without keyrings, or a container that closes them to all its processes.
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise


def load_filter(file: int) -> None:
    """Load a filter of system calls, an array of `struct sock_filter`, for this process and all below it."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    with open(file, "rb") as stream:
        instructions = stream.read()
    program = Program(len(instructions) // 8, instructions)
    called("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)


def watch_over(plan: dict[str, Any]) -> None:
    """Run the program as a child, and leave nothing of it behind."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        become(plan)

    def end(*_: object) -> None:
        kill_descendants(child)
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    for file in plan["passed"]:
        os.close(file)
    ended, status = 0, 0
    while ended != child:
        ended, status = os.wait()
    kill_descendants(child)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def kill_descendants(group: int) -> None:
    """Kill all that is below this process, until nothing is.

    The program's process group goes first, at one blow: no fork gets between. What has left the group is stopped
    before it is killed, so that less is born meanwhile.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    while below := descendants():
        for deed in (signal.SIGSTOP, signal.SIGKILL):
            for process in below:
                try:
                    os.kill(process, deed)
                except ProcessLookupError:
                    continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return


def descendants() -> list[int]:
    """Processes below this one, by number."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stream:
                    parents[int(name)] = int(stream.read().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
    found = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {os.getpid()})


def prctl(option: int, value: int) -> None:
    """Set a property of this process.

    Raises:
        OSError: The kernel refuses.
    """
    called("prctl", option, value, 0, 0, 0)


def called(name: str, *arguments: Any) -> None:
    """Call a function of the C library that returns -1 for an error.

    Raises:
        OSError: It does.
    """
    if getattr(LIBC, name)(*arguments) == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}{arguments}: {os.strerror(error)}")


if __name__ == "__main__":
    main()
