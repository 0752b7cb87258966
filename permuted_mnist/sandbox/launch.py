"""Confines itself, then becomes the program that it was given; or stays, and watches over it.

    python -I -S launch.py PLAN     (JSON; see `process.Plan`)

A script that stands alone and imports little, since it is started for each run. It is not to be imported. Without a
namespace of processes somebody must end what a program leaves behind: then this process adopts all orphans below it
and kills them when the program ends, when it is told to (SIGTERM), or when its own parent dies.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38


def main() -> None:
    """Confine, then run."""
    plan = json.loads(sys.argv[1])
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM if plan["watch_over"] else signal.SIGKILL)
    if os.getppid() != plan["parent"]:
        sys.exit("the parent died")
    for file in plan["cgroup_files"]:
        with open(file, "w") as stream:
            stream.write("0")
    os.sched_setaffinity(0, plan["cpus"])
    for name, bound in plan["rlimits"].items():
        resource.setrlimit(getattr(resource, name), (bound, bound))
    if plan["watch_over"]:
        watch_over(plan)
    become(plan)


def become(plan: dict[str, Any]) -> None:
    """Turn into the program."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    os.chdir(plan["folder"])
    os.execve(plan["command"][0], plan["command"], plan["environment"])


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
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({option}): {os.strerror(error)}")


if __name__ == "__main__":
    main()
