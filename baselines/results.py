"""The result of a run, and the folder that stores it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ml_trainer_env.baselines.episode import EpisodeResult, Result
from ml_trainer_env.baselines.report import report_html
from ml_trainer_env.baselines.run_log import redacted

__all__ = ["Report", "RunResult", "TuningReport", "read_results", "write_run"]


class Report(Protocol):
    """How the episodes of a game are drawn and shown."""

    def read(self, given: Mapping[str, Any]) -> Any:
        """Read the result of an episode from JSON."""

    def picture(self, result: Any) -> bytes:
        """Draw an episode as a PNG."""

    def page(self, run: Mapping[str, Any], episodes: Sequence[Any]) -> str:
        """Write a run as HTML."""


class TuningReport:
    """How the episodes of the tuning game are drawn and shown."""

    def read(self, given: Mapping[str, Any]) -> EpisodeResult:
        """Read the result of an episode from JSON."""
        return EpisodeResult.from_dict(given)

    def picture(self, result: EpisodeResult) -> bytes:
        """Draw loss and accuracy by epoch."""
        from ml_trainer_env.baselines.curves import curves_png  # late: matplotlib takes a second to import

        return curves_png(result)

    def page(self, run: Mapping[str, Any], episodes: Sequence[EpisodeResult]) -> str:
        """Write a run as HTML."""
        return report_html(run, episodes)


_TUNING = TuningReport()


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run.

    Attributes:
        name: Name of the run and of its folder.
        agent: Name of the agent.
        started: Start time, ISO 8601, UTC.
        seconds: Wall-clock duration.
        problem: Why the run was aborted; "" if it was not.
        episodes: Episodes in the order played.
    """

    name: str
    agent: str
    started: str
    seconds: float
    problem: str
    episodes: Sequence[Result]

    @property
    def played_to_end(self) -> int:
        """Number of episodes that the agent played to the end."""
        return sum(episode.played_to_end for episode in self.episodes)

    @property
    def mean_score(self) -> float | None:
        """Mean of `counted_score` over the episodes. None if there are none."""
        scores = [episode.counted_score for episode in self.episodes]
        return round(sum(scores) / len(scores), 4) if scores else None

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON types."""
        return {
            "run": self.name,
            "agent": self.agent,
            "started": self.started,
            "seconds": self.seconds,
            "problem": self.problem,
            "mean_score": self.mean_score,
            "played_to_end": self.played_to_end,
            "closed_by_program": len(self.episodes) - self.played_to_end,
            "episodes": [episode.to_dict() for episode in self.episodes],
        }


def write_run(folder: Path, run: RunResult, secrets: tuple[str, ...] = (), report: Report = _TUNING) -> Path:
    """Write `results.json`, one PNG for each episode, and `report.html`.

    Args:
        folder: The folder. It is created if it does not exist.
        run: The result to write.
        secrets: Texts that are replaced by `***`.
        report: How episodes are drawn and shown.

    Returns:
        Path of the report.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clean = redacted(run.to_dict(), secrets)
    text = json.dumps(clean, indent=2, ensure_ascii=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    episodes = [report.read(episode) for episode in clean["episodes"]]
    for number, episode in enumerate(episodes, start=1):
        (folder / f"{number:02d}-{_safe(episode.task_id)}.png").write_bytes(report.picture(episode))
    path = folder / "report.html"
    path.write_text(report.page(clean, episodes), encoding="utf-8")
    return path


def read_results(path: Path, report: Report = _TUNING) -> RunResult:
    """Read a `results.json`."""
    given: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return RunResult(
        name=given["run"],
        agent=given["agent"],
        started=given["started"],
        seconds=given["seconds"],
        problem=given["problem"],
        episodes=tuple(report.read(episode) for episode in given["episodes"]),
    )


def _safe(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
