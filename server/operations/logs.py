"""The server's log: JSON, one object a line, with the episode it is about; plain text on a terminal."""

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
"""Loggers of libraries that come with a handler of their own."""

MESSAGE_CHARACTERS = 4_000
"""Of a message that are logged: libraries quote what clients sent."""

EXCEPTION_CHARACTERS = 20_000
"""Of a traceback: its beginning and its end."""

_episode_id: ContextVar[str | None] = ContextVar("episode_id", default=None)
_is_refused: ContextVar[bool] = ContextVar("is_refused", default=False)

_NO_HANDSHAKE = "ASGI callable returned without completing handshake."
"""What uvicorn logs as an error of the application when a WebSocket was answered with an HTTP response instead."""


@contextmanager
def logged_episode(episode_id: str) -> Iterator[None]:
    """Say of everything logged within the block which episode it is about."""
    token = _episode_id.set(episode_id)
    try:
        yield
    finally:
        _episode_id.reset(token)


def mark_socket_refused() -> None:
    """Take note that the WebSocket of this task is refused in words, which is no error of the application."""
    _is_refused.set(True)


def configure_logging(as_json: bool | None = None) -> None:
    """Send everything logged in this process to stderr, in one form.

    Args:
        as_json: Whether as JSON; if None, unless stderr is a terminal.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_add_episode)
    handler.addFilter(_drop_queries)
    handler.addFilter(_bound_message)
    handler.addFilter(_is_worth_a_line)
    handler.setFormatter(_JsonLines() if as_json or (as_json is None and not sys.stderr.isatty()) else _TextLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in _OTHERS_LOGGERS:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


class _JsonLines(JsonFormatter):
    """One JSON object a line."""

    def __init__(self) -> None:
        super().__init__(["created", "levelname", "name", "message"], rename_fields=_FIELDS)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """The traceback, if it is not too long."""
        return _bounded(str(super().formatException(ei)), EXCEPTION_CHARACTERS)

    def process_log_record(self, log_data: dict[str, object]) -> dict[str, object]:
        """Write the time as people read it, in UTC."""
        seconds = log_data["time"]
        assert isinstance(seconds, float)
        log_data.pop("color_message", None)  # uvicorn's message once more, for terminals
        return {**log_data, "time": datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")}


class _TextLines(logging.Formatter):
    """A line for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s%(about)s")

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """The traceback, if it is not too long."""
        return _bounded(str(super().formatException(ei)), EXCEPTION_CHARACTERS)

    def format(self, record: logging.LogRecord) -> str:
        """Add the episode at the end, if there is one."""
        episode_id = getattr(record, "episode_id", None)
        record.about = f" [{episode_id}]" if episode_id else ""
        return super().format(record)


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Whether a record is more than uvicorn's surprise at a refused WebSocket, which the line before it reports."""
    return not (_is_refused.get() and record.name == "uvicorn.error" and record.msg == _NO_HANDSHAKE)


def _add_episode(record: logging.LogRecord) -> bool:
    episode_id = _episode_id.get()
    if episode_id is not None and not hasattr(record, "episode_id"):
        record.episode_id = episode_id
    return True


def _drop_queries(record: logging.LogRecord) -> bool:
    """Cut the query off the paths that uvicorn logs: whoever reads a session's id in it could enter that session."""
    if record.name.startswith("uvicorn") and isinstance(record.args, tuple):
        record.args = tuple(_without_query(value) for value in record.args)
    return True


def _bound_message(record: logging.LogRecord) -> bool:
    """Cut a message that is too long."""
    message = record.getMessage()
    if len(message) > MESSAGE_CHARACTERS:
        record.msg, record.args = _bounded(message, MESSAGE_CHARACTERS), None
    return True


def _bounded(text: str, characters: int) -> str:
    """The beginning and the end of a text that is too long."""
    if len(text) <= characters:
        return text
    half = characters // 2
    return f"{text[:half]} ... {len(text) - 2 * half} characters left out ... {text[-half:]}"


def _without_query(value: object) -> object:
    return value.partition("?")[0] if isinstance(value, str) and value.startswith("/") else value
