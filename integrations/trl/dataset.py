"""Data sets of episodes for TRL's trainers."""

from collections.abc import Iterable, Sequence
from typing import Any

from ml_trainer_env.integrations.libraries import require
from ml_trainer_env.integrations.rows import task_rows

__all__ = ["train_dataset"]


def train_dataset(split: str, indices: Iterable[int], seeds: Sequence[int | None] = (None,)) -> Any:
    """Make a `datasets.Dataset` of the rows of `task_rows`.

    Args:
        split: Game and split: `tuning/train`, `fleet/validation` and so on.
        indices: Indices of tasks of the split.
        seeds: Seeds of episodes of each task; None for the task's own.

    Raises:
        MissingLibraryError: `datasets` is not installed.
        ValueError: The game is unknown.
    """
    return require("datasets", "datasets").Dataset.from_list(task_rows(split, indices, seeds))
