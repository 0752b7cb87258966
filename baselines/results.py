"""The result of a run, and the folder that stores it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_trainer_env.baselines.episode import EpisodeResult
from ml_trainer_env.baselines.report import report_html
from ml_trainer_env.baselines.run_log import redacted

__all__ = ["RunResult", "read_results", "write_run"]


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
    episodes: Sequence[EpisodeResult]

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


def write_run(folder: Path, run: RunResult, secrets: tuple[str, ...] = ()) -> Path:
    """Write `results.json`, one PNG for each episode, and `report.html`.

    Args:
        folder: The folder. It is created if it does not exist.
        run: The result to write.
        secrets: Texts that are replaced by `***`.

    Returns:
        Path of the report.
    """
    from ml_trainer_env.baselines.curves import curves_png  # late: matplotlib takes a second to import

    folder.mkdir(parents=True, exist_ok=True)
    clean = redacted(run.to_dict(), secrets)
    text = json.dumps(clean, indent=2, ensure_ascii=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    episodes = [EpisodeResult.from_dict(episode) for episode in clean["episodes"]]
    pictures = [curves_png(episode) for episode in episodes]
    for number, (episode, picture) in enumerate(zip(episodes, pictures, strict=True), start=1):
        (folder / f"{number:02d}-{_safe(episode.task_id)}.png").write_bytes(picture)
    report = folder / "report.html"
    page = report_html(clean, list(zip(episodes, pictures, strict=True)))
    report.write_text(page, encoding="utf-8")
    return report


def read_results(path: Path) -> RunResult:
    """Read a `results.json`."""
    given: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return RunResult(
        name=given["run"],
        agent=given["agent"],
        started=given["started"],
        seconds=given["seconds"],
        problem=given["problem"],
        episodes=tuple(EpisodeResult.from_dict(episode) for episode in given["episodes"]),
    )


def _safe(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
