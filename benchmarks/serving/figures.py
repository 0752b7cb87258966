"""Figures, and how they are told: with their spread, and with the machine, the versions and the commit."""

import datetime as dt
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from serving.processes import ROOT

__all__ = ["Result", "Slope", "circumstances", "percentile", "slope", "spread"]


@dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
        title: Of what.
        lines: In words, as Markdown.
        figures: For other programs: what JSON holds.
    """

    title: str
    lines: list[str]
    figures: dict[str, Any]


def spread(values: Sequence[float], places: int = 1) -> str:
    """Median, least and greatest."""
    return f"{statistics.median(values):.{places}f} [{min(values):.{places}f}, {max(values):.{places}f}]"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` percent of the values do not exceed."""
    return float(np.percentile(np.asarray(values), share))


def circumstances() -> str:
    """When, where and with what: what a figure is worth nothing without."""
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "openenv", "fastmcp", "uvicorn", "websockets"))
    return (
        f"{now}, {_processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python "
        f"{platform.python_version()}, {versions}, commit {_commit()}"
    )


@dataclass(frozen=True)
class Slope:
    """A straight line's slope with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


def slope(xs: Sequence[float], ys: Sequence[float]) -> Slope:
    """The least-squares slope of `ys` over `xs`, which follow each other in time.

    Neighbouring residuals resemble each other, so the standard error is widened by sqrt((1 + r) / (1 - r)), where r is
    their correlation (an AR(1) process; Wilks, Statistical Methods in the Atmospheric Sciences, 5.2.4).
    """
    x, y = np.asarray(xs, float), np.asarray(ys, float)
    if len(x) < 4 or np.ptp(x) == 0:
        return Slope(float("nan"), float("-inf"), float("inf"))
    value, offset = np.polyfit(x, y, 1)
    rest = y - value * x - offset
    square = float(rest @ rest)
    r = max(0.0, float(rest[1:] @ rest[:-1]) / square) if square else 0.0
    deviations = x - x.mean()
    error = (square / (len(x) - 2) / float(deviations @ deviations)) ** 0.5
    margin = 2.0 * error * ((1 + r) / max(1 - r, 1e-3)) ** 0.5
    return Slope(float(value), float(value - margin), float(value + margin))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True).stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--", "server", "models.py", "client.py") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed
