"""The fleet's text: shards to train on, and text that is in none of them. Torch is not imported."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

__all__ = ["VOCABULARY", "Text", "prepare", "windows_at"]

VOCABULARY = 96
"""Number of characters: the line break, and what ASCII can print."""


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """Characters as numbers, 0 to `VOCABULARY` - 1.

    Attributes:
        key: Key of the content.
        shards: uint8 (shards, length): what is trained on.
        probe: uint8 (length,): what agents may measure checkpoints on.
        held_out: uint8 (length,): what the submitted model is graded on.
    """

    key: str
    shards: np.ndarray
    probe: np.ndarray
    held_out: np.ndarray

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Create a text from its arrays by name. Its key is their checksum."""
        parts = {name: np.ascontiguousarray(arrays[name]) for name in ("shards", "probe", "held_out")}
        digest = hashlib.sha256()
        for name, array in parts.items():
            array.setflags(write=False)
            digest.update(f"{name}:{array.shape};".encode())
            digest.update(array.data)
        return cls(f"text:{digest.hexdigest()}", **parts)

    @property
    def nbytes(self) -> int:
        """Size of the arrays, in bytes."""
        return self.shards.nbytes + self.probe.nbytes + self.held_out.nbytes

    @property
    def parts(self) -> tuple["Text", ...]:
        """The parts that other data may share: the value itself."""
        return (self,)


def prepare(text: Text, _options: Mapping[str, int | str]) -> Text:
    """Return the text: it needs no preparation. An executor calls this where its jobs run."""
    return text


def windows_at(text: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """Return the windows of a text (n,) that begin at `starts`: int64 (*starts.shape, length)."""
    return text[starts[..., None] + np.arange(length)].astype(np.int64)
