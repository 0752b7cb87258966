"""The references of fleet episodes: constants, or the two runs of each episode, trained once and kept in a file."""

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from filelock import FileLock

from ml_trainer_env.in_process.fleet import references_of
from ml_trainer_env.in_process.training import trainer_of_process
from ml_trainer_env.server.episodes.units import UnitSource
from ml_trainer_env.server.fleet.tasks import FleetTask
from ml_trainer_env.server.trainer.fleet.figures import CHANCE_LOSS

__all__ = ["CLEAN_LOSS", "FleetReferences", "Scale"]

CLEAN_LOSS = 1.84
"""About the held-out loss of a clean run, in nats a character."""


class Scale(StrEnum):
    """What the score of an episode is relative to."""

    REPAIR = "repair"
    """The game's own score: the share of the harm that was repaired. Two runs of the same seed are trained for it."""
    LOSS = "loss"
    """0 for a model that knows nothing, 1 for one as good as a clean run: nothing has to be trained for it."""


class FleetReferences:
    """Returns the references of episodes.

    Args:
        scale: What the score is relative to.
        file: References by task, seed and machine, one line of JSON each. It may be shared by processes. None to keep
            them in memory alone.
    """

    def __init__(self, scale: Scale, file: Path | None) -> None:
        self._scale, self._file = scale, file
        self._known: dict[tuple[str, int, str], Mapping[str, float]] = {}

    def of(self, task: FleetTask, seed: int, source: UnitSource | None = None) -> Mapping[str, float]:
        """Return `nothing_loss` and `clean_loss`. Trains them if they are not known, for up to 12 CPU seconds.

        Args:
            task: The task.
            seed: The seed of the episode.
            source: The source of their steps. None for that of the process.
        """
        if self._scale is Scale.LOSS:
            return {"nothing_loss": CHANCE_LOSS, "clean_loss": CLEAN_LOSS}
        key = (task.id, seed, trainer_of_process().identity.key)
        if key not in self._known and self._file is not None:
            self._known |= _read(self._file)
        if key not in self._known:
            self._known[key] = references_of(trainer_of_process(), task, seed, source)
            if self._file is not None:
                _append(self._file, key, self._known[key])
        return self._known[key]


def _read(file: Path) -> dict[tuple[str, int, str], Mapping[str, float]]:
    """Read a file. A line that was cut off by a kill is left out."""
    text = file.read_text() if file.exists() else ""
    rows = map(json.loads, text[: text.rfind("\n") + 1].splitlines())
    return {(row["task"], row["seed"], row["identity"]): row["references"] for row in rows}


def _append(file: Path, key: tuple[str, int, str], references: Mapping[str, float]) -> None:
    task, seed, identity = key
    row = {"task": task, "seed": seed, "identity": identity, "references": dict(references)}
    with FileLock(f"{file}.lock"), file.open("a") as lines:
        lines.write(json.dumps(row) + "\n")
