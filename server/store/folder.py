"""The folder that holds the journal and the models of a server."""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path

from platformdirs import user_state_path

from ml_trainer_env.server.store.errors import StoreError

__all__ = ["JOURNAL_FILE", "chosen_folder", "state_folder"]

JOURNAL_FILE = "journal.sqlite3"

_LOG = logging.getLogger(__name__)


def chosen_folder(environment: Mapping[str, str]) -> Path | None:
    """The folder that ML_TRAINER_STATE_DIR names, None if it is not set."""
    text = environment.get("ML_TRAINER_STATE_DIR", "").strip()
    return Path(text).expanduser() if text else None


def state_folder(chosen: Path | None) -> Path:
    """Where the journal and the models are, made if need be.

    Args:
        chosen: The setting. Without one it is the user's folder for such things; if that cannot be written,
            as in a container with a read-only root, a temporary one that does not outlive the machine.
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
