"""Reads data frames out of an installed R package: the files `Rdata.rdx` and `Rdata.rdb`.

They hold R's own serialisation (R Internals, "Serialization Formats"), of which this reads what data frames need.
"""

import gzip
import lzma
import struct
import zlib
from typing import Any

import numpy as np

Frame = dict[str, np.ndarray]
"""The columns of a data frame by name: numbers as float64 (not a number where one is missing), factors as str."""

_ENDS = {241: "base", 242: "empty", 251: "missing", 252: "unbound", 253: "global", 254: "null"}
_INTEGER_MISSING = -(2**31)


def read_frame(index: bytes, base: bytes, name: str) -> Frame:
    """Returns a data frame.

    Args:
        index: Content of `Rdata.rdx`.
        base: Content of `Rdata.rdb`.
        name: Name of the data frame.
    """
    top = _named(_Reader(gzip.decompress(index)).read())
    places = _named(top["variables"])
    start, length = places[name]["values"]
    frame = _named(_Reader(_decompress(base[start : start + length])).read())
    return {column: _column(values) for column, values in frame.items()}


def _decompress(block: bytes) -> bytes:
    """Returns the content of a block: four bytes of its length, then a letter for how it is compressed, or zlib."""
    if block[4:5] == b"Z":
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 6}]
        return lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=filters).decompress(block[5:])
    return zlib.decompress(block[4:])


def _named(value: dict[str, Any]) -> dict[str, Any]:
    return dict(zip(value["attributes"]["names"]["values"], value["values"], strict=True))


def _column(value: dict[str, Any]) -> np.ndarray:
    levels = value["attributes"].get("levels")
    if levels is not None:
        return np.array([levels["values"][number - 1] if number > 0 else "" for number in value["values"]])
    return np.array([np.nan if number == _INTEGER_MISSING else number for number in value["values"]], np.float64)


class _Reader:
    """Reads one serialised value, big-endian, from its first byte to its last."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._symbols: list[Any] = []
        self._place = 14
        if struct.unpack_from(">i", content, 2)[0] == 3:  # version 3 names its encoding
            self._place += 4 + struct.unpack_from(">i", content, 14)[0]

    def read(self) -> Any:
        """Returns the next value: a vector as its values and attributes, a pair list as a list, a name as str."""
        flags = self._integers(1)[0]
        kind = flags & 255
        if kind in _ENDS:
            return None
        if kind == 255:
            return self._symbols[((flags >> 8) or self._integers(1)[0]) - 1]
        if kind == 1:
            self._symbols.append(self.read())
            return self._symbols[-1]
        if kind == 2:
            return self._pairs(flags)
        length = self._integers(1)[0]
        if kind == 9:
            return self._text(length)
        match kind:
            case 10 | 13:
                values: list[Any] = self._integers(length)
            case 14:
                values = list(struct.unpack_from(f">{length}d", self._content, self._place))
                self._place += 8 * length
            case 16 | 19:
                values = [self.read() for _ in range(length)]
            case _:
                raise ValueError(f"there should be a vector at byte {self._place}, and the type is {kind}")
        attributes = dict(self.read()) if flags & 512 else {}
        return {"values": values, "attributes": attributes}

    def _pairs(self, flags: int) -> list[tuple[Any, Any]]:
        if flags & 512:
            self.read()
        tag = self.read() if flags & 1024 else None
        value = self.read()
        return [(tag, value), *(self.read() or [])]

    def _integers(self, count: int) -> list[int]:
        values = list(struct.unpack_from(f">{count}i", self._content, self._place))
        self._place += 4 * count
        return values

    def _text(self, length: int) -> str | None:
        if length < 0:
            return None
        text = self._content[self._place : self._place + length].decode()
        self._place += length
        return text
