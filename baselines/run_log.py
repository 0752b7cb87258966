"""The event log of a run: one JSON object on each line, without secrets."""

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Record", "RunLog", "record_nothing", "redacted"]

Record = Callable[[str, Mapping[str, object]], None]
"""Records an event, given by its kind and its fields."""

_HIDDEN = "***"


def record_nothing(_kind: str, _fields: Mapping[str, object]) -> None:
    """Record nothing."""


class RunLog:
    """Writes events to a file as they happen. An instance is a `Record`.

    Args:
        path: The file. Its folder is created.
        secrets: Texts that are replaced by `***`.
        clock: Returns the current time.
    """

    def __init__(
        self,
        path: Path,
        secrets: tuple[str, ...] = (),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._secrets = secrets
        self._clock = clock
        self._file = path.open("a", encoding="utf-8")

    def __call__(self, kind: str, fields: Mapping[str, object]) -> None:
        """Write an event and flush the file, so that the log is complete if the run is aborted."""
        event = {"time": self._clock().isoformat(), "kind": kind, **fields}
        self._file.write(json.dumps(redacted(event, self._secrets), ensure_ascii=False) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()


def redacted(value: Any, secrets: tuple[str, ...]) -> Any:
    """Convert a value to JSON types. Replaces secrets by `***`, and numbers that are not finite by None."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, _HIDDEN)
        return str(value)
    if isinstance(value, Mapping):
        return {redacted(str(k), secrets): redacted(v, secrets) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted(item, secrets) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float):
        return value
    return redacted(str(value), secrets)
