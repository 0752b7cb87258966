"""Looks at Python sources without running them, and without letting a hard one hold the service up."""

import functools
import json
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ml_trainer_env.arena.files.blobs import Blobs

__all__ = ["MAX_SOURCE_BYTES", "Class", "Source", "Sources"]

MAX_SOURCE_BYTES = 256 * 1024
"""A larger file is no source; a model has another ending."""

_PARSER = Path(__file__).with_name("parse.py")
_LIMIT_S = 30.0
"""The parser ends itself long before, unless it gets no processor."""

_BY_THE_SOURCE = frozenset({-signal.SIGXCPU, -signal.SIGSEGV})
"""How the parser dies of a source; in another way it is killed by somebody."""

_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Class:
    """A class of a source, not of another class or function."""

    name: str
    methods: frozenset[str]
    has_bases: bool


@dataclass(frozen=True, slots=True)
class Source:
    """What a source holds.

    Attributes:
        error: Why it is no Python; None if it is.
        classes: Its classes, in order.
    """

    error: str | None
    classes: tuple[Class, ...] = ()


class Sources:
    """Parses files, each once.

    Args:
        blobs: Where they are kept.
    """

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._parsed = functools.lru_cache(_REMEMBERED)(self._parse)

    def look(self, sha256: str, size: int) -> Source:
        """What a file holds."""
        if size > MAX_SOURCE_BYTES:
            return Source(f"a Python source may have {MAX_SOURCE_BYTES} bytes at the most")
        try:
            return self._parsed(sha256)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):  # which says nothing of the source
            return Source("it could not be parsed just now: upload it again")

    def look_ahead(self, files: Iterable[tuple[str, str, int]]) -> None:
        """Look at files by name, SHA-256 and size, so that a transaction that asks for them need not wait."""
        for name, sha256, size in files:
            self.complaint(name, sha256, size)

    def complaint(self, name: str, sha256: str, size: int) -> str | None:
        """Why a Python file is none; None if it is one, or no Python file by its name."""
        error = self.look(sha256, size).error if name.endswith(".py") else None
        return error and f"{name}: {error}"

    def _parse(self, sha256: str) -> Source:
        command = [sys.executable, "-I", "-S", str(_PARSER)]
        try:
            done = subprocess.run(
                command, input=self._blobs.get(sha256), capture_output=True, check=True, timeout=_LIMIT_S
            )
        except subprocess.CalledProcessError as error:
            if error.returncode not in _BY_THE_SOURCE:
                raise
            return Source("it takes too much time or memory to parse")
        found = json.loads(done.stdout)
        classes = (Class(one["name"], frozenset(one["methods"]), one["has_bases"]) for one in found["classes"])
        return Source(found["error"], tuple(classes))
