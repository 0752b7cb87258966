"""How long a worker process may take to become ready: by the processor time it was given, not by the clock.

On a machine with more to do than it can, a worker that is starting waits for its turn. Killing it then and starting
another makes it worse. A worker that has used its processor time, or that sleeps and gets nowhere, will not be ready.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Standing", "StartupWatch", "standing_of"]

CPU_LIMIT_S = 120.0
"""Importing torch and taking the probe needs 3 to 10 seconds of processor time."""

ASLEEP_LIMIT_S = 300.0
"""A worker that slept for so long without using processor time waits for something that does not come."""

CLOCK_LIMIT_S = 600.0
"""By the clock, where the system does not tell a process's processor time (there is no /proc on macOS)."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the system says of a process.

    Attributes:
        cpu_s: Processor time it has used, in seconds.
        is_asleep: Whether it waits for an event, rather than for its turn or for a signal to go on.
    """

    cpu_s: float
    is_asleep: bool


def standing_of(pid: int) -> Standing | None:
    """What the system says of a process; None if it does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()
        ticks = int(fields[11]) + int(fields[12])
    except (OSError, IndexError, ValueError):
        return None
    return Standing(ticks / os.sysconf("SC_CLK_TCK"), fields[0] in "SD")


class StartupWatch:
    """Decides whether a starting worker is still to be waited for.

    Args:
        look: Tells how the worker stands.
        clock: Seconds, from any beginning.
    """

    def __init__(self, look: Callable[[], Standing | None], clock: Callable[[], float] = time.monotonic) -> None:
        self._look = look
        self._clock = clock
        self._began_at = self._awake_at = clock()
        self._cpu_s = 0.0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the worker was started, by the clock."""
        return self._clock() - self._began_at

    def verdict(self) -> str | None:
        """Why it is not to be waited for any longer, in words; None if it is."""
        standing = self._look()
        if standing is None:
            return self._overdue(self.elapsed_s, CLOCK_LIMIT_S, "")
        if standing.cpu_s > self._cpu_s or not standing.is_asleep:
            self._cpu_s, self._awake_at = standing.cpu_s, self._clock()
        asleep_s = self._clock() - self._awake_at
        return self._overdue(standing.cpu_s, CPU_LIMIT_S, " of processor time") or self._overdue(
            asleep_s, ASLEEP_LIMIT_S, " of sleep"
        )

    def told(self) -> str:
        """How the start stands, in words."""
        return f"a worker has been starting for {self.elapsed_s:.0f} s and was given {self._cpu_s:.1f} s of a processor"

    def _overdue(self, spent_s: float, limit_s: float, of_what: str) -> str | None:
        return f"a worker was not ready within {limit_s:g} s{of_what}" if spent_s > limit_s else None
