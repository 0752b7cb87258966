"""The named checkpoints of an episode."""

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
    """A saved model.

    Attributes:
        model: Weights, optimizer and position in the schedule.
        best: The best model in its ancestry.
        ancestry: The epochs that trained it, from initial weights on.
        epoch: Number of epochs of the episode when it was saved.
        val_accuracy: Its validation accuracy in the list of checkpoints. None before its first epoch.
    """

    model: StateRef
    best: StateRef
    ancestry: tuple[EpochRecord, ...]
    epoch: int
    val_accuracy: float | None


class Checkpoints:
    """At most 10 checkpoints by name. A new checkpoint replaces the old one of the same name."""

    def __init__(self) -> None:
        self._kept: dict[str, Checkpoint] = {}

    def save(self, name: str, checkpoint: Checkpoint) -> None:
        """Save a checkpoint.

        Raises:
            EpisodeError: The name is new and 10 checkpoints are saved already.
        """
        if name not in self._kept and len(self._kept) >= MAX_CHECKPOINTS:
            raise EpisodeError(
                f"an episode keeps at most {MAX_CHECKPOINTS} checkpoints; save under one of the "
                f"names there are: {self._names()}"
            )
        self._kept[name] = checkpoint

    def find(self, name: str) -> Checkpoint:
        """Return the checkpoint of a name.

        Raises:
            EpisodeError: No checkpoint has this name.
        """
        if name not in self._kept:
            raise EpisodeError(f"there is no checkpoint {shown(name)}; there are: {self._names()}")
        return self._kept[name]

    def keys(self) -> list[str]:
        """Return the keys of the models."""
        return [model.key for kept in self._kept.values() for model in (kept.model, kept.best)]

    def listing(self) -> list[dict[str, object]]:
        """Return name, epoch and validation accuracy of each checkpoint, oldest first."""
        return [
            {"name": name, "epoch": kept.epoch, "val_accuracy": kept.val_accuracy} for name, kept in self._kept.items()
        ]

    def _names(self) -> str:
        return ", ".join(self._kept) or "none"


def check_name(name: object) -> str:
    """Return `name` if it is allowed as the name of a checkpoint.

    Raises:
        EpisodeError: It is not allowed.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise EpisodeError(
        "name must be 1 to 64 letters, digits, dots, dashes or underscores and begin with a "
        f"letter or digit, got {shown(name)}"
    )
