"""What is judged at the end of a soak."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.figures import slope

from soaking.monitor import Sample

__all__ = ["Item", "log_problems", "verdict"]

WAL_LIMIT_KB = 64 * 1024
"""A log that is never folded into the journal grows beyond any limit; this one shows it."""

JUDGED_FROM_MINUTES = 20.0
"""In a shorter run the slope of memory shows caches that fill."""


@dataclass(frozen=True)
class Item:
    """Something that is judged; `passed` is None if it could not be."""

    name: str
    passed: bool | None
    detail: str

    def line(self) -> str:
        """The item in a line."""
        word = {True: "PASS", False: "FAIL", None: "----"}[self.passed]
        return f"{word}  {self.name}: {self.detail}"


def verdict(
    samples: Sequence[Sample], rest: Sample, end: Sample, unexpected: Sequence[str], log: Path, allowed_kb: float
) -> list[Item]:
    """Judge a run.

    Args:
        samples: Those taken during it.
        rest: Taken after warm-up, when all had left.
        end: Taken after the run, when all had left.
        unexpected: What clients met that they should not have.
        log: The server's.
        allowed_kb: How far the memory's slope may lie above 0, in KB per 1000 calls (and 1000 epochs, for a worker).
    """
    items = [
        Item("open episodes at the end", end.open_episodes == 0, f"{end.open_episodes:.0f}"),
        *(
            Item(name, getattr(end, name) <= getattr(rest, name), f"{getattr(end, name)}, {getattr(rest, name)} before")
            for name in ("descriptors", "threads", "processes")
        ),
        Item("write-ahead log", *_wal(samples)),
        Item("files half written", end.partial_files == 0, f"{end.partial_files}"),
        Item(
            "files of models that the journal does not list",
            abs(end.states_kb - end.states_listed_kb) < 1,
            f"{end.states_kb:.0f} KB on disk, {end.states_listed_kb:.0f} KB listed",
        ),
        Item("memory of the server", *_memory(samples, allowed_kb)),
        Item("memory of the eldest worker", *_worker_memory(samples, allowed_kb)),
        Item("answers", not unexpected, "; ".join(unexpected[:5]) or "all expected"),
    ]
    problems = log_problems(log)
    told = "; ".join(f"{count} x {text[:200]}" for text, count in problems.most_common(5))
    return [*items, Item("log", not problems, told or "nothing above a warning")]


def log_problems(log: Path) -> Counter[str]:
    """Errors in the server's log, and lines that are no log lines, such as tracebacks. Counts by text."""
    problems: Counter[str] = Counter()
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            problems[line] += 1
            continue
        if record["level"] in {"ERROR", "CRITICAL"} or "never awaited" in record["message"]:
            last = record.get("exception", "").strip().splitlines()
            problems[" | ".join([record["logger"], record["message"], *last[-1:]])] += 1
    return problems


def _wal(samples: Sequence[Sample]) -> tuple[bool, str]:
    largest = max(sample.wal_kb for sample in samples)
    return largest < WAL_LIMIT_KB, f"{largest / 1024:.1f} MB at the most"


def _second_half(samples: Sequence[Sample]) -> tuple[list[Sample], float]:
    """The samples of the run's second half, and the run's minutes."""
    run = [sample for sample in samples if sample.phase == "run"]
    first, last = run[0].seconds, run[-1].seconds
    return [sample for sample in run if sample.seconds >= (first + last) / 2], (last - first) / 60


def _memory(samples: Sequence[Sample], allowed_kb: float) -> tuple[bool | None, str]:
    half, minutes = _second_half(samples)
    growth = slope([sample.calls / 1000 for sample in half], [sample.rss_kb for sample in half])
    return _judged(growth.low <= allowed_kb, minutes), (
        f"{growth} KB per 1000 calls over the second half (95 %), {half[0].rss_kb / 1024:.1f} to "
        f"{half[-1].rss_kb / 1024:.1f} MB in {half[-1].calls - half[0].calls:.0f} calls"
    )


def _worker_memory(samples: Sequence[Sample], allowed_kb: float) -> tuple[bool | None, str]:
    half, minutes = _second_half(samples)
    alive = set.intersection(*(set(sample.worker_rss_kb) for sample in half))
    if not alive:
        return None, "no worker lived through the second half"
    eldest = next(pid for pid in half[0].worker_rss_kb if pid in alive)
    memory = [sample.worker_rss_kb[eldest] for sample in half]
    growth = slope([sample.epochs / 1000 for sample in half], memory)
    return _judged(growth.low <= allowed_kb, minutes), (
        f"{growth} KB per 1000 epochs of all workers, {memory[0] / 1024:.1f} to {memory[-1] / 1024:.1f} MB"
    )


def _judged(passed: bool, minutes: float) -> bool | None:
    return passed if minutes >= JUDGED_FROM_MINUTES else None
