"""Upload limits: bytes of a user in a day, and free space on the disk."""

import shutil
from pathlib import Path

from ml_trainer_env.arena.errors import NoRoomError
from ml_trainer_env.arena.rates import Rates

__all__ = ["RESERVE_BYTES", "Quota"]

RESERVE_BYTES = 2**30
"""Free space reserved for the database and for logs of evaluations."""

_DAY_S = 24 * 3600


class Quota:
    """Counts uploads.

    Args:
        folder: Folder of the files.
        daily_bytes: Limit of a user in 24 hours.
        reserve_bytes: Free space that must remain on the disk.
    """

    def __init__(self, folder: Path, daily_bytes: int, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._folder = folder
        self._reserve = reserve_bytes
        # A burst of one half, refilled by the other half in a day: no window of 24 hours exceeds the limit.
        half = daily_bytes / 2
        self._rates = Rates(half / _DAY_S, half, f"you may upload {daily_bytes} bytes in 24 hours")

    def take(self, user_id: int, size: int) -> None:
        """Count an upload.

        Raises:
            NoRoomError: The disk is nearly full.
            TooManyError: The user's daily upload limit is exhausted.
        """
        if shutil.disk_usage(self._folder).free - size < self._reserve:
            raise NoRoomError("the service has no room for more files")
        self._rates.take(str(user_id), size)
