"""One upload at a time for each user, so that no user can occupy the whole service."""

import asyncio
from weakref import WeakValueDictionary

__all__ = ["UserLocks"]


class UserLocks:
    """Locks by user. A lock exists while it is held or waited for."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    def of(self, user_id: int) -> asyncio.Lock:
        """Get the lock of a user."""
        return self._locks.setdefault(user_id, asyncio.Lock())
