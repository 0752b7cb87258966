"""Logging of the server: one JSON object per line with the episode's id; plain text on a terminal."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from pythonjsonlogger.json import JsonFormatter

__all__ = ["configure_logging", "logged_episode", "mark_socket_refused"]

_FIELDS = {"created": "time", "levelname": "level", "name": "logger", "exc_info": "exception", "stack_info": "stack"}
_OTHERS_LOGGERS = ("uvicorn", "uvicorn.access", "uvicorn.error", "fastmcp")
"""Loggers of libraries that have handlers of their own."""

MESSAGE_CHARACTERS = 4_000
"""Limit for a message, because libraries quote data from clients."""

EXCEPTION_CHARACTERS = 20_000
"""Limit for a traceback. Its beginning and its end are kept."""

_episode_id: ContextVar[str | None] = ContextVar("episode_id", default=None)
_is_refused: ContextVar[bool] = ContextVar("is_refused", default=False)

_NO_HANDSHAKE = "ASGI callable returned without completing handshake."
"""Error that uvicorn logs when a WebSocket is refused with an HTTP response."""


@contextmanager
def logged_episode(episode_id: str) -> Iterator[None]:
    """Add the episode's id to all records that are logged in the block."""
    token = _episode_id.set(episode_id)
    try:
        yield
    finally:
        _episode_id.reset(token)


def mark_socket_refused() -> None:
    """Record that the WebSocket of this task is refused, which is not an application error."""
    _is_refused.set(True)


def configure_logging(as_json: bool | None = None) -> None:
    """Send all log records of this process to stderr in one format.

    Args:
        as_json: Whether the format is JSON. If None, it is JSON unless stderr is a terminal.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_add_episode)
    handler.addFilter(_drop_queries)
    handler.addFilter(_bound_message)
    handler.addFilter(_is_not_refusal_error)
    handler.setFormatter(_JsonLines() if as_json or (as_json is None and not sys.stderr.isatty()) else _TextLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in _OTHERS_LOGGERS:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


class _JsonLines(JsonFormatter):
    """Formats a record as one JSON object."""

    def __init__(self) -> None:
        super().__init__(["created", "levelname", "name", "message"], rename_fields=_FIELDS)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return the traceback, shortened if it is too long."""
        return _shorten(str(super().formatException(ei)), EXCEPTION_CHARACTERS)

    def process_log_record(self, log_data: dict[str, object]) -> dict[str, object]:
        """Format the time as ISO 8601 in UTC."""
        seconds = log_data["time"]
        assert isinstance(seconds, float)
        log_data.pop("color_message", None)  # uvicorn's copy of the message with colours
        return {**log_data, "time": datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")}


class _TextLines(logging.Formatter):
    """Formats a record as plain text."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s%(about)s")

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return the traceback, shortened if it is too long."""
        return _shorten(str(super().formatException(ei)), EXCEPTION_CHARACTERS)

    def format(self, record: logging.LogRecord) -> str:
        """Append the episode's id, if there is one."""
        episode_id = getattr(record, "episode_id", None)
        record.about = f" [{episode_id}]" if episode_id else ""
        return super().format(record)


def _is_not_refusal_error(record: logging.LogRecord) -> bool:
    """Whether a record is not uvicorn's error for a refused WebSocket."""
    return not (_is_refused.get() and record.name == "uvicorn.error" and record.msg == _NO_HANDSHAKE)


def _add_episode(record: logging.LogRecord) -> bool:
    episode_id = _episode_id.get()
    if episode_id is not None and not hasattr(record, "episode_id"):
        record.episode_id = episode_id
    return True


def _drop_queries(record: logging.LogRecord) -> bool:
    """Remove the query from paths in uvicorn's records: a session id in it would give access to the session."""
    if record.name.startswith("uvicorn") and isinstance(record.args, tuple):
        record.args = tuple(_without_query(value) for value in record.args)
    return True


def _bound_message(record: logging.LogRecord) -> bool:
    """Shorten a message that is too long."""
    message = record.getMessage()
    if len(message) > MESSAGE_CHARACTERS:
        record.msg, record.args = _shorten(message, MESSAGE_CHARACTERS), None
    return True


def _shorten(text: str, characters: int) -> str:
    """Return the text; only its beginning and end if it is too long."""
    if len(text) <= characters:
        return text
    half = characters // 2
    return f"{text[:half]} ... {len(text) - 2 * half} characters left out ... {text[-half:]}"


def _without_query(value: object) -> object:
    return value.partition("?")[0] if isinstance(value, str) and value.startswith("/") else value
