"""Inspects Python sources without running them. A source that is expensive to parse cannot block the service."""

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
"""Larger Python files are refused."""

_PARSER = Path(__file__).with_name("parse.py")
_LIMIT_S = 30.0
"""Safety limit. The parser has a shorter limit of CPU time of its own."""

_CAUSED_BY_SOURCE = frozenset({-signal.SIGXCPU, -signal.SIGSEGV})
"""Exit statuses of the parser that the source causes. Any other failure has an external cause."""

_CACHE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Class:
    """A top-level class of a source."""

    name: str
    methods: frozenset[str]
    has_bases: bool


@dataclass(frozen=True, slots=True)
class Source:
    """The result of parsing a source.

    Attributes:
        error: Why it is not valid Python; None if it is.
        classes: Its top-level classes, in order.
        functions: Names of its top-level functions.
        imports: First names of the modules that it cannot do without. Those of relative imports begin with a dot.
        undefined: Names that nothing in it defines, if it is a class alone.
    """

    error: str | None
    classes: tuple[Class, ...] = ()
    functions: frozenset[str] = frozenset()
    imports: frozenset[str] = frozenset()
    undefined: tuple[str, ...] = ()


class Sources:
    """Parses files, each once.

    Args:
        blobs: Storage of the files.
    """

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._parsed = functools.lru_cache(_CACHE_SIZE)(self._parse)

    def inspect(self, sha256: str, size: int) -> Source:
        """Parse a file, or return the cached result."""
        if size > MAX_SOURCE_BYTES:
            return Source(f"a Python source may have {MAX_SOURCE_BYTES} bytes at the most")
        try:
            return self._parsed(sha256)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):  # the cause is not the source
            return Source("it could not be parsed just now: upload it again")

    def parse_ahead(self, files: Iterable[tuple[str, str, int]]) -> None:
        """Parse files, given by name, SHA-256 and size, so that a later transaction finds them in the cache."""
        for name, sha256, size in files:
            self.find_problem(name, sha256, size)

    def find_problem(self, name: str, sha256: str, size: int) -> str | None:
        """Get the reason why a `.py` file is not valid Python. None for a valid file and for other file types."""
        error = self.inspect(sha256, size).error if name.endswith(".py") else None
        return error and f"{name}: {error}"

    def _parse(self, sha256: str) -> Source:
        command = [sys.executable, "-I", "-S", str(_PARSER)]
        try:
            done = subprocess.run(
                command, input=self._blobs.get(sha256), capture_output=True, check=True, timeout=_LIMIT_S
            )
        except subprocess.CalledProcessError as error:
            if error.returncode not in _CAUSED_BY_SOURCE:
                raise
            return Source("it takes too much time or memory to parse")
        found = json.loads(done.stdout)
        classes = (Class(one["name"], frozenset(one["methods"]), one["has_bases"]) for one in found["classes"])
        return Source(
            found["error"],
            tuple(classes),
            frozenset(found["functions"]),
            frozenset(found["imports"]),
            tuple(found["undefined"]),
        )
