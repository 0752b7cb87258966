"""The settings that `ml-trainer-measure` measured: a small JSON file beside the journal."""

import json
import os
from pathlib import Path
from typing import Any

from ml_trainer_env.server.store.errors import StoreError

__all__ = ["DEFAULT_BATCH", "MEASURED_FILE", "evaluation_batch", "read_measured", "write_measured"]

MEASURED_FILE = "measured.json"

_BATCH = "evaluation_batch"
DEFAULT_BATCH = 64
"""Evaluation batch without a setting and without a measurement."""


def evaluation_batch(chosen: int | None, folder: Path) -> int:
    """Return the number of examples per evaluation batch.

    Args:
        chosen: The value of ML_TRAINER_EVALUATION_BATCH, None if it is not set.
        folder: The state folder, whose measured value is used if `chosen` is None.

    Raises:
        StoreError: The file of measured settings cannot be read.
    """
    return chosen if chosen is not None else read_measured(folder)


def read_measured(folder: Path) -> int:
    """Return the measured evaluation batch; 64 if none was measured.

    Raises:
        StoreError: The file cannot be read.
    """
    path = folder / MEASURED_FILE
    try:
        batch = json.loads(path.read_text(encoding="utf-8"))[_BATCH]
        if type(batch) is not int or batch < 1:
            raise ValueError(f"{_BATCH} must be a whole number of at least 1, got {batch!r}")
    except FileNotFoundError:
        return DEFAULT_BATCH
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise StoreError(f"{path} is damaged ({error}); run ml-trainer-measure again, or delete the file") from error
    return batch


def write_measured(folder: Path, batch: int, facts: dict[str, Any]) -> Path:
    """Write the evaluation batch and facts about its measurement. The file is replaced atomically.

    Returns:
        The file.
    """
    path, part = folder / MEASURED_FILE, folder / f"{MEASURED_FILE}.part"
    part.write_text(json.dumps({_BATCH: batch, **facts}, indent=2) + "\n", encoding="utf-8")
    os.replace(part, path)
    return path
