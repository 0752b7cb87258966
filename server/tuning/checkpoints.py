"""The checkpoints an agent keeps by name within an episode."""

import re
from dataclasses import dataclass

from ml_trainer_env.server.episodes.errors import EpisodeError
from ml_trainer_env.server.episodes.states import StateRef
from ml_trainer_env.server.trainer.limits import shown
from ml_trainer_env.server.tuning.history import EpochRecord

__all__ = ["Checkpoint", "Checkpoints", "check_name"]

MAX_CHECKPOINTS = 10
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A model worth coming back to.

    Attributes:
        model: Weights, optimizer and place in the schedule.
        best: The best model on its ancestry, which is handed in if this one is submitted.
        ancestry: The epochs that made it, from fresh weights on.
        epoch: Epochs the episode had run when it was saved.
        val_accuracy: Validation accuracy that is listed for it.
    """

    model: StateRef
    best: StateRef
    ancestry: tuple[EpochRecord, ...]
    epoch: int
    val_accuracy: float


class Checkpoints:
    """At most 10 checkpoints by name; saving under a name again replaces it."""

    def __init__(self) -> None:
        self._kept: dict[str, Checkpoint] = {}

    def save(self, name: str, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint.

        Raises:
            EpisodeError: There is no room for another name.
        """
        if name not in self._kept and len(self._kept) >= MAX_CHECKPOINTS:
            raise EpisodeError(
                f"an episode keeps at most {MAX_CHECKPOINTS} checkpoints; save under one of the "
                f"names there are: {self._names()}"
            )
        self._kept[name] = checkpoint

    def find(self, name: str) -> Checkpoint:
        """The checkpoint of that name.

        Raises:
            EpisodeError: There is none.
        """
        if name not in self._kept:
            raise EpisodeError(f"there is no checkpoint {shown(name)}; there are: {self._names()}")
        return self._kept[name]

    def keys(self) -> list[str]:
        """Keys of the models kept."""
        return [model.key for kept in self._kept.values() for model in (kept.model, kept.best)]

    def listing(self) -> list[dict[str, object]]:
        """Name, epoch and validation accuracy of each, oldest first."""
        return [
            {"name": name, "epoch": kept.epoch, "val_accuracy": kept.val_accuracy} for name, kept in self._kept.items()
        ]

    def _names(self) -> str:
        return ", ".join(self._kept) or "none"


def check_name(name: object) -> str:
    """Return `name` if a checkpoint may be called that.

    Raises:
        EpisodeError: It may not.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise EpisodeError(
        "name must be 1 to 64 letters, digits, dots, dashes or underscores and begin with a "
        f"letter or digit, got {shown(name)}"
    )
