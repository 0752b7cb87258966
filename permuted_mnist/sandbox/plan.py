"""What `launch.py` is told: how a program is to be confined, and how it is then started."""

import json
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["Plan", "filter_file", "launch_command"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a start.

    Attributes:
        command: The program and its arguments.
        environment: All its variables.
        folder: Its working folder.
        parent: The process that starts it, by number. When that dies, so does the program.
        watch_over: Whether a process stays that ends what the program leaves behind.
        mapped_user: Enter a new user namespace in which there are root and this user alone; none is entered if None.
        cgroup_files: Files that a process writes 0 into to join a control group.
        cpus: Processors, by number.
        rlimits: Bounds, by their names in `resource`.
        filter: Descriptor that the filter of system calls is read from; -1 for none, or if bubblewrap loads it.
        passed: Descriptors that the program inherits and the watching process closes.
    """

    command: list[str]
    environment: dict[str, str]
    folder: str
    parent: int = field(default_factory=os.getpid)
    watch_over: bool = False
    mapped_user: int | None = None
    cgroup_files: list[str] = field(default_factory=list)
    cpus: list[int] = field(default_factory=lambda: sorted(os.sched_getaffinity(0)))
    rlimits: dict[str, int] = field(default_factory=dict)
    filter: int = -1
    passed: list[int] = field(default_factory=list)


def launch_command(plan: Plan) -> list[str]:
    """The command line that carries out a plan."""
    return [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py")), json.dumps(asdict(plan))]


def filter_file(program: bytes) -> int:
    """A file in memory that holds a filter, ready to be read; the caller closes its descriptor."""
    file = os.memfd_create("filter")
    os.write(file, program)
    os.lseek(file, 0, os.SEEK_SET)
    return file
