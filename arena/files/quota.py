"""How much may be uploaded: by a user in a day, and by all until the disk is nearly full."""

import shutil
from pathlib import Path

from ml_trainer_env.arena.errors import NoRoomError
from ml_trainer_env.arena.rates import Rates

__all__ = ["RESERVE_BYTES", "Quota"]

RESERVE_BYTES = 2**30
"""Left for the database, and for what evaluations leave behind."""

_DAY_S = 24 * 3600


class Quota:
    """Counts uploads.

    Args:
        folder: Where files are kept.
        daily_bytes: A user's in 24 hours.
        reserve_bytes: What the disk must have left.
    """

    def __init__(self, folder: Path, daily_bytes: int, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._folder = folder
        self._reserve = reserve_bytes
        # Half at once and as much again in the course of a day: in no 24 hours is it more.
        half = daily_bytes / 2
        self._rates = Rates(half / _DAY_S, half, f"you may upload {daily_bytes} bytes in 24 hours")

    def take(self, user_id: int, size: int) -> None:
        """Count an upload.

        Raises:
            NoRoomError: The disk is nearly full.
            TooManyError: The user has uploaded too much of late.
        """
        if shutil.disk_usage(self._folder).free - size < self._reserve:
            raise NoRoomError("the service has no room for more files")
        self._rates.take(str(user_id), size)
