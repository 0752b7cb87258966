"""Linux control groups, versions 1 and 2. The kernel enforces limits of memory, processes and processor time.

This module mounts nothing and does not change the controllers of other groups. If the machine does not allow a group
below this process's own, there is none (see `layers`).
"""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from permuted_mnist.sandbox.limits import Limits

__all__ = ["Cgroup", "CgroupV1", "CgroupV2", "open_cgroup"]

PERIOD_US = 100_000
"""Period of the limit of processor time."""

REMOVAL_S = 5.0
"""Time limit for removing a group. Its processes may take a moment to exit."""


class Cgroup(Protocol):
    """A group of processes with limits, created for one run."""

    @property
    def version(self) -> int:
        """Version of control groups: 1 or 2."""
        ...

    @property
    def bounds_processes(self) -> bool:
        """Whether the number of processes is limited."""
        ...

    @property
    def entrances(self) -> list[Path]:
        """Files through which a process joins the group, by writing its id or 0."""
        ...

    def memory_bytes(self) -> int:
        """Get the current memory of its processes, without the kernel's file cache."""
        ...

    def killed_for_memory(self) -> bool:
        """Whether the kernel has killed one of its processes for lack of memory."""
        ...

    def remove(self) -> None:
        """Kill the remaining processes and remove the group."""
        ...


@dataclass(frozen=True, slots=True)
class CgroupV1:
    """Version 1: a folder for each controller."""

    memory: Path
    others: tuple[Path, ...]

    @property
    def version(self) -> int:
        """1."""
        return 1

    @property
    def bounds_processes(self) -> bool:
        """Whether the controller `pids` is available."""
        return any((folder / "pids.max").exists() for folder in self.others)

    @property
    def entrances(self) -> list[Path]:
        """One file for each controller."""
        return [folder / "cgroup.procs" for folder in (self.memory, *self.others)]

    def memory_bytes(self) -> int:
        """Anonymous and shared memory."""
        figures = _figures(self.memory / "memory.stat")
        return figures.get("total_rss", 0) + figures.get("total_shmem", 0)

    def killed_for_memory(self) -> bool:
        """By the count that the kernel keeps."""
        return _figures(self.memory / "memory.oom_control").get("oom_kill", 0) > 0

    def remove(self) -> None:
        """Kill the processes by id, until none is left."""
        for folder in (self.memory, *self.others):
            _remove(folder)


@dataclass(frozen=True, slots=True)
class CgroupV2:
    """Version 2: one folder for all controllers."""

    folder: Path

    @property
    def version(self) -> int:
        """2."""
        return 2

    @property
    def bounds_processes(self) -> bool:
        """Whether the controller `pids` is available."""
        return (self.folder / "pids.max").exists()

    @property
    def entrances(self) -> list[Path]:
        """The file of the group."""
        return [self.folder / "cgroup.procs"]

    def memory_bytes(self) -> int:
        """Anonymous and shared memory."""
        figures = _figures(self.folder / "memory.stat")
        return figures.get("anon", 0) + figures.get("shmem", 0)

    def killed_for_memory(self) -> bool:
        """By the count that the kernel keeps."""
        return _figures(self.folder / "memory.events").get("oom_kill", 0) > 0

    def remove(self) -> None:
        """Kill all processes at once (Linux 5.14 and later), otherwise by id."""
        with contextlib.suppress(OSError):
            (self.folder / "cgroup.kill").write_text("1")
        _remove(self.folder)


def open_cgroup(name: str, limits: Limits) -> Cgroup:
    """Create a group beside or below this process's own.

    Args:
        name: New name of its folder.
        limits: Limits for all its processes together.

    Raises:
        OSError: Control groups are not available or not writable.
    """
    mounts, own = _mounts(), _own_groups()
    if "memory" in own and "memory" in mounts:
        return _open_v1(name, limits, {kind: _place(mounts[kind], own[kind]) for kind in own if kind in mounts})
    if "" in own and "cgroup2" in mounts:
        return _open_v2(name, limits, _place(mounts["cgroup2"], own[""]))
    raise OSError("there are no control groups for memory")


def _open_v1(name: str, limits: Limits, places: dict[str, Path]) -> Cgroup:
    settings: dict[str, dict[str, object]] = {
        "memory": {"memory.limit_in_bytes": limits.memory_bytes, "memory.memsw.limit_in_bytes": limits.memory_bytes},
        "pids": {"pids.max": limits.processes},
        "cpu": {"cpu.cfs_period_us": PERIOD_US, "cpu.cfs_quota_us": PERIOD_US * limits.cpus},
    }
    made: dict[str, Path] = {}
    try:
        for kind in settings:
            try:
                made[kind] = _made(places[kind] / name, settings[kind])
            except (OSError, KeyError):
                if kind == "memory":
                    raise
    except KeyError as error:
        raise OSError("there is no control group for memory") from error
    return CgroupV1(made.pop("memory"), tuple(made.values()))


def _open_v2(name: str, limits: Limits, own: Path) -> Cgroup:
    """Create a group beside this process's own. A group with processes cannot give children a memory controller."""
    above = own.parent if (own / "cgroup.type").exists() else own
    with contextlib.suppress(OSError):
        (above / "cgroup.subtree_control").write_text("+memory +pids +cpu")
    if "memory" not in (above / "cgroup.subtree_control").read_text().split():
        raise OSError(f"{above} gives its children no memory controller")
    settings: dict[str, object] = {
        "memory.max": limits.memory_bytes,
        "memory.swap.max": 0,
        "memory.oom.group": 1,
        "pids.max": limits.processes,
        "cpu.max": f"{PERIOD_US * limits.cpus} {PERIOD_US}",
    }
    return CgroupV2(_made(above / name, settings))


def _made(folder: Path, settings: dict[str, object]) -> Path:
    """Create a group with these settings. Settings that the kernel does not know are skipped."""
    folder.mkdir()
    try:
        for file, value in settings.items():
            if (folder / file).exists():
                (folder / file).write_text(str(value))
    except OSError:
        folder.rmdir()
        raise
    return folder


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + REMOVAL_S
    while folder.exists():
        try:
            for process in (folder / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(process), signal.SIGKILL)
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _own_groups() -> dict[str, str]:
    """Get the groups of this process by controller (version 1). Version 2 has the empty name."""
    own: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, kinds, path = line.split(":", 2)
        own |= dict.fromkeys(kinds.split(","), path)
    return own


def _mounts() -> dict[str, tuple[Path, str]]:
    """Get the mount point and the root group of each controller (version 1) and of `cgroup2`."""
    mounts: dict[str, tuple[Path, str]] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        top, point = before.split(" ")[3:5]
        for name in {"cgroup": options.split(","), "cgroup2": ["cgroup2"]}.get(kind, []):
            mounts.setdefault(name, (Path(point), top))
    return mounts


def _place(mount: tuple[Path, str], group: str) -> Path:
    point, top = mount
    below = os.path.relpath(group, top)
    return point if below == "." or below.startswith("..") else point / below


def _figures(file: Path) -> dict[str, int]:
    """Read lines of a name and a number. Returns nothing if the group no longer exists."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return {}
    return {name: int(value) for name, _, value in (line.partition(" ") for line in lines) if value.isdigit()}
