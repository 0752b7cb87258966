"""The state folder: journal and model states of a server."""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path

from platformdirs import user_state_path

from ml_trainer_env.server.store.errors import StoreError

__all__ = [
    "JOURNAL_FILE",
    "STATES_FOLDER",
    "configured_database",
    "configured_folder",
    "configured_states",
    "journal_place",
    "state_folder",
    "states_place",
]

JOURNAL_FILE = "journal.sqlite3"

STATES_FOLDER = "states"
"""Folder of the stored models, in the state folder."""

_LOG = logging.getLogger(__name__)


def configured_folder(environment: Mapping[str, str]) -> Path | None:
    """Return the folder in ML_TRAINER_STATE_DIR, None if it is not set."""
    text = environment.get("ML_TRAINER_STATE_DIR", "").strip()
    return Path(text).expanduser() if text else None


def configured_database(environment: Mapping[str, str]) -> str | None:
    """Return the URL in ML_TRAINER_DATABASE_URL, None if it is not set."""
    return environment.get("ML_TRAINER_DATABASE_URL", "").strip() or None


def configured_states(environment: Mapping[str, str]) -> str | None:
    """Return the URL in ML_TRAINER_STATES_URL, None if it is not set."""
    return environment.get("ML_TRAINER_STATES_URL", "").strip() or None


def states_place(environment: Mapping[str, str]) -> Path | str:
    """Return the place of the stored models for `StateStore`: the URL, or a folder in the state folder.

    Raises:
        StoreError: The models are in a folder, and none can be written.
    """
    return configured_states(environment) or state_folder(configured_folder(environment)) / STATES_FOLDER


def journal_place(environment: Mapping[str, str]) -> Path | str:
    """Return the place of the journal for `Database`: the URL of a database, or a file in the state folder.

    Raises:
        StoreError: The journal is a file, and no folder can be written.
    """
    return configured_database(environment) or state_folder(configured_folder(environment)) / JOURNAL_FILE


def state_folder(chosen: Path | None) -> Path:
    """Return the state folder. It is created if it is missing.

    Args:
        chosen: The setting. If None, the user's state folder is used. If that is read-only, as in some containers, a
            temporary folder is used.

    Raises:
        StoreError: No folder can be written.
    """
    folder = chosen or user_state_path("ml_trainer_env")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        if chosen is not None:
            raise StoreError(f"ML_TRAINER_STATE_DIR {chosen} cannot be written: {error}") from error
        temporary = Path(tempfile.gettempdir()) / "ml_trainer_env"
        try:
            temporary.mkdir(parents=True, exist_ok=True)
        except OSError as another:
            raise StoreError(f"neither {folder} nor {temporary} can be written: {another}") from another
        _LOG.warning("%s cannot be written; episodes are kept in %s, until that is cleared", folder, temporary)
        return temporary
