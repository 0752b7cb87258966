"""Turns: one upload of a user's at a time, so that nobody keeps all of the service busy."""

import asyncio
from weakref import WeakValueDictionary

__all__ = ["Turns"]


class Turns:
    """A lock for each user, for as long as somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    def of(self, user_id: int) -> asyncio.Lock:
        """The user's."""
        return self._locks.setdefault(user_id, asyncio.Lock())
