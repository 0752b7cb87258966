"""Measures process trees with /proc, for machines without control groups."""

import os
from dataclasses import dataclass

__all__ = ["Tree", "measure_tree", "task_count"]


@dataclass(frozen=True, slots=True)
class Tree:
    """A process and all its descendants.

    Attributes:
        memory_bytes: Anonymous and shared memory. A page that two processes share is counted twice.
        tasks: Number of processes and threads.
    """

    memory_bytes: int
    tasks: int


def measure_tree(root: int) -> Tree:
    """Measure a process and all its descendants.

    Args:
        root: Id of the process.
    """
    seen = {int(name): _status(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    found = {root}
    while more := {child for child, fields in seen.items() if int(fields.get("PPid", "0")) in found} - found:
        found |= more
    tree = [seen.get(process, {}) for process in found]
    memory = sum(int(fields.get(kind, "0").split()[0]) for fields in tree for kind in ("RssAnon", "RssShmem"))
    return Tree(1024 * memory, sum(int(fields.get("Threads", "0")) for fields in tree))


def _status(process: int) -> dict[str, str]:
    try:
        with open(f"/proc/{process}/status") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    except OSError:
        return {}


def task_count(user: int) -> int:
    """Count the processes and threads of a user id."""
    fields = (_status(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return sum(int(found["Threads"]) for found in fields if found.get("Uid", "").split()[:1] == [str(user)])
