"""The plan for `launch.py`: how to limit a program and how to start it."""

import json
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["Plan", "filter_file", "launch_command"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How to start a program.

    Attributes:
        command: The program and its arguments.
        environment: All its environment variables.
        folder: Its working folder.
        parent: Id of the process that starts it. When the parent dies, the program is killed.
        supervise: Whether `launch.py` stays as a supervisor that kills the program's descendants at the end.
        mapped_user: Id of the only user besides root in a new user namespace; None for no new namespace.
        cgroup_files: Files of control groups. A process joins by writing 0.
        cpus: Ids of the allowed processors.
        rlimits: Resource limits, by their names in `resource`.
        filter: File descriptor of the system call filter; -1 for none, or if bubblewrap loads it.
        passed: File descriptors that the program inherits and the supervisor closes.
    """

    command: list[str]
    environment: dict[str, str]
    folder: str
    parent: int = field(default_factory=os.getpid)
    supervise: bool = False
    mapped_user: int | None = None
    cgroup_files: list[str] = field(default_factory=list)
    cpus: list[int] = field(default_factory=lambda: sorted(os.sched_getaffinity(0)))
    rlimits: dict[str, int] = field(default_factory=dict)
    filter: int = -1
    passed: list[int] = field(default_factory=list)


def launch_command(plan: Plan) -> list[str]:
    """Build the command line that executes a plan."""
    return [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py")), json.dumps(asdict(plan))]


def filter_file(program: bytes) -> int:
    """Write a filter to a file in memory. Returns its descriptor, which the caller closes."""
    file = os.memfd_create("filter")
    os.write(file, program)
    os.lseek(file, 0, os.SEEK_SET)
    return file
