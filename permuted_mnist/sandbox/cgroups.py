"""Control groups of Linux, versions 1 and 2: memory, number of processes and processor time, enforced by the kernel.

Nothing is mounted and no controller is taken from anyone: where the machine gives no group below this process's own,
there is none (see `layers`).
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
"""Processor time is dealt out in periods of this length."""

REMOVAL_S = 5.0
"""The kernel may take a moment to let go of a group whose processes have just died."""


class Cgroup(Protocol):
    """A group of processes with limits, made for one run."""

    @property
    def version(self) -> int:
        """Of control groups: 1 or 2."""
        ...

    @property
    def bounds_processes(self) -> bool:
        """Whether their number is limited."""
        ...

    @property
    def entrances(self) -> list[Path]:
        """Files that a process writes its number, or 0, into in order to join."""
        ...

    def memory_bytes(self) -> int:
        """Memory that its processes hold now, without files that the kernel merely caches."""
        ...

    def killed_for_memory(self) -> bool:
        """Whether the kernel has killed one of them because the memory was used up."""
        ...

    def remove(self) -> None:
        """Kill what is left in it, and remove it."""
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
        """Whether there is the controller `pids`."""
        return any((folder / "pids.max").exists() for folder in self.others)

    @property
    def entrances(self) -> list[Path]:
        """One for each controller."""
        return [folder / "cgroup.procs" for folder in (self.memory, *self.others)]

    def memory_bytes(self) -> int:
        """Anonymous and shared memory."""
        figures = _figures(self.memory / "memory.stat")
        return figures.get("total_rss", 0) + figures.get("total_shmem", 0)

    def killed_for_memory(self) -> bool:
        """By the count that the kernel keeps."""
        return _figures(self.memory / "memory.oom_control").get("oom_kill", 0) > 0

    def remove(self) -> None:
        """Kill by number, until there is none."""
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
        """Whether there is the controller `pids`."""
        return (self.folder / "pids.max").exists()

    @property
    def entrances(self) -> list[Path]:
        """Just one."""
        return [self.folder / "cgroup.procs"]

    def memory_bytes(self) -> int:
        """Anonymous and shared memory."""
        figures = _figures(self.folder / "memory.stat")
        return figures.get("anon", 0) + figures.get("shmem", 0)

    def killed_for_memory(self) -> bool:
        """By the count that the kernel keeps."""
        return _figures(self.folder / "memory.events").get("oom_kill", 0) > 0

    def remove(self) -> None:
        """Kill all at once where the kernel can (5.14), else by number."""
        with contextlib.suppress(OSError):
            (self.folder / "cgroup.kill").write_text("1")
        _remove(self.folder)


def open_cgroup(name: str, limits: Limits) -> Cgroup:
    """Make a group beside or below this process's own.

    Args:
        name: Of its folder; there is none of this name.
        limits: What its processes may use together.

    Raises:
        OSError: The machine gives none: it has no control groups, or they belong to someone else.
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
    """Beside this process's group, since a group that holds processes can give its children no memory controller."""
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
    """A new group with these settings; those that the kernel does not have are left out."""
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
    """Which groups this process is in: by controller (version 1), and under the empty name (version 2)."""
    own: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, kinds, path = line.split(":", 2)
        own |= dict.fromkeys(kinds.split(","), path)
    return own


def _mounts() -> dict[str, tuple[Path, str]]:
    """Where each controller (version 1) or `cgroup2` is mounted, and which group is at the top there."""
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
    """Lines of a name and a number; nothing if the group has gone."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return {}
    return {name: int(value) for name, _, value in (line.partition(" ") for line in lines) if value.isdigit()}
