"""The reports that `ml-trainer-play` and `ml-trainer-bench` left in a folder. This module reads files, and writes none.

A run is found by listing folders, never by a path that a caller gives. A report is a page of its own: it is sent with a
policy under which it can run nothing and load nothing.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["REPORT_POLICY", "Played", "Run", "RunKind", "find_report", "find_run", "list_runs"]

REPORT_POLICY = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'"
"""The Content-Security-Policy of a report. Styles and pictures are in the page. Scripts, forms and requests are not."""

MAX_BYTES = 32_000_000
"""A file that is larger is not read."""

_REPORT = "report.html"


class RunKind(StrEnum):
    """What a run is. The value is the name of the folder of such runs."""

    PLAY = "evals"
    """An agent that played tasks: `ml-trainer-play`."""

    COMPARISON = "bench"
    """Agents on the same tasks and seeds: `ml-trainer-bench`."""


@dataclass(frozen=True, slots=True)
class Played:
    """An episode of a run.

    Attributes:
        task: Id of the task.
        agent: Name of the agent.
        seed: The seed as text.
        score: The score that counts, 0 if the program had to end the episode. None without one.
        episode: The name of the episode, under which the journal of the run's server has it. "" if it is not told.
        curve: The figures by epoch, a list for each name. None where a figure is missing. Empty if they are not told.
    """

    task: str
    agent: str
    seed: str
    score: float | None
    episode: str
    curve: Mapping[str, list[float | None]]


@dataclass(frozen=True, slots=True)
class Run:
    """A run.

    Attributes:
        kind: What it is.
        name: Its name, that of its folder.
        changed_at: Time of the last change of its results, in seconds since 1970.
        episodes: Its episodes, in the order of its record.
        problem: Why it was stopped, or why its results cannot be read. "" for neither.
        has_report: Whether there is a page to show.
    """

    kind: RunKind
    name: str
    changed_at: float
    episodes: tuple[Played, ...]
    problem: str
    has_report: bool = False

    @property
    def scores(self) -> dict[str, float]:
        """The mean score of each agent, the best first. An episode without a score counts 0."""
        found: dict[str, list[float]] = {}
        for one in self.episodes:
            found.setdefault(one.agent, []).append(one.score or 0.0)
        means = {agent: sum(scores) / len(scores) for agent, scores in found.items()}
        return dict(sorted(means.items(), key=lambda one: -one[1]))


def list_runs(folder: Path, limit: int) -> list[Run]:
    """Return the runs in a folder, the latest first. Empty if there is no such folder.

    Args:
        folder: The folder that has `evals` and `bench`.
        limit: Largest number of runs.
    """
    places = sorted(_places(folder), key=lambda one: -one[2])
    return [_run(folder, place) for place in places[:limit]]


def find_run(folder: Path, kind: str, name: str) -> Run | None:
    """Return a run. None if there is none of this kind and name."""
    found = (place for place in _places(folder) if (place[0].value, place[1].name) == (kind, name))
    return next((_run(folder, place) for place in found), None)


def find_report(folder: Path, kind: str, name: str) -> Path | None:
    """Return the page of a run. None if there is none. A link that leads out of the folder is none."""
    for place, path, _ in _places(folder):
        report = path / _REPORT
        if (place.value, path.name) == (kind, name) and _is_inside(report, folder):
            return report
    return None


def _run(folder: Path, place: tuple[RunKind, Path, float]) -> Run:
    """Read a run. Its report is written after its results."""
    return replace(_read(*place), has_report=_is_inside(place[1] / _REPORT, folder))


def _places(folder: Path) -> list[tuple[RunKind, Path, float]]:
    """Return the kind, the folder and the time of the last change of each run."""
    found = []
    for kind, (record, _) in _RECORDS.items():
        try:
            paths = list((folder / kind.value).iterdir())
        except OSError:
            continue
        for path in paths:
            file = path / record
            if _is_inside(file, folder):
                found.append((kind, path, file.stat().st_mtime))
    return found


def _is_inside(file: Path, folder: Path) -> bool:
    """Whether a file exists and lies in a folder, links followed."""
    return file.is_file() and file.resolve().is_relative_to(folder.resolve())


@lru_cache(maxsize=500)
def _read(kind: RunKind, path: Path, changed_at: float) -> Run:
    """Read the results of a run. What was read at the time of a change need not be read again."""
    record, read = _RECORDS[kind]
    file = path / record
    episodes: tuple[Played, ...] = ()
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ValueError(f"its results are larger than {MAX_BYTES} bytes")
        found, problem = read(file.read_text(encoding="utf-8"))
        episodes = tuple(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"its results cannot be read: {error}"
    return Run(kind, path.name, changed_at, episodes, problem)


def _read_play(text: str) -> tuple[Iterable[Played], str]:
    given = _from_json(text)
    return [_played(one, _curve(one.get("curve") or ())) for one in given["episodes"]], str(given["problem"])


def _read_comparison(text: str) -> tuple[Iterable[Played], str]:
    # The last line may have been cut off by a kill.
    lines = text[: text.rfind("\n") + 1].splitlines()
    return [_played(_from_json(line), {}) for line in lines], ""


def _from_json(text: str) -> Any:
    """Read JSON. A figure that is not finite is None."""
    return json.loads(text, parse_constant=lambda _: None)


def _played(given: Mapping[str, Any], curve: Mapping[str, list[float | None]]) -> Played:
    score = given.get("counted_score", given["score"])
    return Played(
        task=str(given.get("task_id", given.get("task"))),
        agent=str(given["agent"]),
        seed=str(given["seed"]),
        score=None if score is None else float(score),
        episode=str(given.get("episode_id", "")),
        curve=curve,
    )


def _curve(points: Iterable[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    points = list(points)
    values = (one for point in points for one in point.items() if type(one[1]) is not int)  # no numbers of epochs
    names = dict.fromkeys(name for name, _ in values if not name.endswith("_s"))  # and no clocks
    return {name: [point.get(name) for point in points] for name in names}


_RECORDS: Mapping[RunKind, tuple[str, Callable[[str], tuple[Iterable[Played], str]]]] = {
    RunKind.PLAY: ("results.json", _read_play),
    RunKind.COMPARISON: ("results.jsonl", _read_comparison),
}
"""The file with the results of each kind of run, and what reads it."""
