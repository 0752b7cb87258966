"""Time limits for the start of a worker process. They count processor time, not wall time.

On an overloaded machine a starting worker waits for the processor. To kill it and start another one would only add
load. A worker that has used its processor time, or that sleeps without progress, will not become ready.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ProcessSnapshot", "StartupWatch", "snapshot_of"]

CPU_LIMIT_S = 120.0
"""Limit of processor time, in seconds. Importing torch and computing the probe needs 3 to 10 of them."""

ASLEEP_LIMIT_S = 300.0
"""Limit of sleep without use of processor time, in seconds."""

CLOCK_LIMIT_S = 600.0
"""Limit of wall time, in seconds. It applies where there is no /proc to read processor time from (macOS)."""


@dataclass(frozen=True, slots=True)
class ProcessSnapshot:
    """State of a process, as the operating system reports it.

    Attributes:
        cpu_s: Processor time it has used, in seconds.
        is_asleep: Whether it waits for an event. False if it waits for the processor or is stopped by a signal.
    """

    cpu_s: float
    is_asleep: bool


def snapshot_of(pid: int) -> ProcessSnapshot | None:
    """Read the state of a process. Returns None if there is none to read."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()
        ticks = int(fields[11]) + int(fields[12])
    except (OSError, IndexError, ValueError):
        return None
    return ProcessSnapshot(ticks / os.sysconf("SC_CLK_TCK"), fields[0] in "SD")


class StartupWatch:
    """Decides how long to wait for a starting worker.

    Args:
        take_snapshot: Reads the state of the worker's process.
        clock: Returns seconds since any fixed time.
    """

    def __init__(
        self, take_snapshot: Callable[[], ProcessSnapshot | None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._take_snapshot = take_snapshot
        self._clock = clock
        self._began_at = self._awake_at = clock()
        self._cpu_s = 0.0

    @property
    def elapsed_s(self) -> float:
        """Wall time since the worker was started, in seconds."""
        return self._clock() - self._began_at

    def check(self) -> str | None:
        """Return the limit that is exceeded, as an error text. None if the wait goes on."""
        snapshot = self._take_snapshot()
        if snapshot is None:
            return _check_limit(self.elapsed_s, CLOCK_LIMIT_S, "")
        if snapshot.cpu_s > self._cpu_s or not snapshot.is_asleep:
            self._cpu_s, self._awake_at = snapshot.cpu_s, self._clock()
        asleep_s = self._clock() - self._awake_at
        return _check_limit(snapshot.cpu_s, CPU_LIMIT_S, " of processor time") or _check_limit(
            asleep_s, ASLEEP_LIMIT_S, " of sleep"
        )

    def describe(self) -> str:
        """Return a text for the log on the progress of the start."""
        return f"a worker has been starting for {self.elapsed_s:.0f} s and was given {self._cpu_s:.1f} s of a processor"


def _check_limit(spent_s: float, limit_s: float, of_what: str) -> str | None:
    return f"a worker was not ready within {limit_s:g} s{of_what}" if spent_s > limit_s else None
