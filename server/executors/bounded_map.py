"""A map with a size limit in bytes."""

from collections import OrderedDict
from typing import Generic, TypeVar

__all__ = ["BoundedMap"]

Value = TypeVar("Value")


class BoundedMap(Generic[Value]):
    """Values by key. The least recently used ones are dropped when the sizes exceed the limit.

    The last one used always stays.

    Args:
        limit_bytes: Limit for the sum of the sizes, in bytes.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._kept: OrderedDict[str, tuple[Value, int]] = OrderedDict()
        self._bytes = 0

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    def __getitem__(self, key: str) -> Value:
        """Return the value of a key. This counts as a use.

        Raises:
            KeyError: The key has no value.
        """
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def keep(self, key: str, value: Value, nbytes: int) -> None:
        """Keep a value of `nbytes` bytes. It replaces the earlier value of the key."""
        self._bytes += nbytes - self._kept.pop(key, (None, 0))[1]
        self._kept[key] = value, nbytes
        while self._bytes > self._limit_bytes and len(self._kept) > 1:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._bytes -= dropped
