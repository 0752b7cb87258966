"""Applies limits to its own process, then executes a program, or supervises the program as a child.

    python -I -S launch.py PLAN     (JSON; see `plan.Plan`)

This is a script, not a module. It imports little, because it is started for each run. Without a PID namespace, this
process supervises the program: it adopts all orphans below it, and kills them when the program ends, on SIGTERM, or
when its parent dies.
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
    """Apply the plan, then run the program."""
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
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM if plan["supervise"] else signal.SIGKILL)
    if os.getppid() != plan["parent"]:
        sys.exit("the parent died")
    if plan["supervise"]:
        supervise(plan)
    become(plan)


def become(plan: dict[str, Any]) -> None:
    """Replace this process by the program."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    os.chdir(plan["folder"])
    if plan["filter"] >= 0:
        load_filter(plan["filter"])
    os.execve(plan["command"][0], plan["command"], plan["environment"])


def enter_user_namespace(user: int) -> None:
    """Enter a new user namespace that contains only root and one other user, both with their own ids.

    This process keeps root's rights only over files of these two users. User keyrings belong to the namespace, so that
    keyrings of the host and of other runs are not accessible. If the kernel refuses, this process exits with a reason.
    """
    this, (wait_end, go_end) = os.getpid(), os.pipe()
    helper = os.fork()  # the id map must be written from outside the namespace
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
        call_libc("unshare", CLONE_NEWUSER | CLONE_NEWNS)
    except OSError as error:
        sys.exit(f"namespaces: {os.strerror(error.errno or 0)}")
    os.write(go_end, b"x")
    os.close(go_end)
    if os.waitpid(helper, 0)[1] != 0:
        sys.exit("the users of a new user namespace cannot be mapped")
    # Forbid nested namespaces. The system call filter forbids them, too.
    with contextlib.suppress(OSError), open("/proc/sys/user/max_user_namespaces", "w") as stream:
        stream.write("0")
    # Devices are shared with the host. They stay writable, but their modification times do not change.
    kept = os.statvfs("/dev").f_flag & 0b1111  # nosuid, nodev, noexec: the same values as for `mount`
    flags = kept | MS_REMOUNT | MS_BIND | MS_RDONLY | MS_RELATIME
    with contextlib.suppress(OSError):
        call_libc("mount", b"none", b"/dev", None, flags, None)


def enter_session_keyring() -> None:
    """Replace the inherited session keyring by a new, empty one."""
    number = KEYCTL_NUMBERS.get(platform.machine(), KEYCTL_NUMBER_ELSEWHERE)
    try:
        call_libc("syscall", number, KEYCTL_JOIN_SESSION_KEYRING, None)
    except OSError as error:
        # The kernel has no keyrings, or the container forbids them.
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise


def load_filter(file: int) -> None:
    """Load a system call filter, an array of `struct sock_filter`, for this process and its descendants."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    with open(file, "rb") as stream:
        instructions = stream.read()
    program = Program(len(instructions) // 8, instructions)
    call_libc("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)


def supervise(plan: dict[str, Any]) -> None:
    """Run the program as a child, and kill all its descendants when it ends."""
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
    """Kill all descendants of this process, until none is left.

    The program's process group is killed first, in one call, so that no fork can escape. Other descendants are stopped
    before they are killed, so that they create fewer new processes meanwhile.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    while below := descendants():
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in below:
                try:
                    os.kill(process, number)
                except ProcessLookupError:
                    continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return


def descendants() -> list[int]:
    """List the ids of this process's descendants."""
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
    call_libc("prctl", option, value, 0, 0, 0)


def call_libc(name: str, *arguments: Any) -> None:
    """Call a function of the C library that returns -1 for an error.

    Raises:
        OSError: The function returned -1.
    """
    if getattr(LIBC, name)(*arguments) == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}{arguments}: {os.strerror(error)}")


if __name__ == "__main__":
    main()
