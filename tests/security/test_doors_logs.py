"""The log: JSON, one object a line, with the episode it is about; text on a terminal."""

import contextvars
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ml_trainer_env.server.operations.logs import configure_logging, logged_episode, mark_socket_refused

logger = logging.getLogger("ml_trainer_env.test")


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Callable[[], list[str]]]]:
    """Configures logging as told, and gives the lines logged since. Everything is put back after the test."""
    loggers = [logging.getLogger(name) for name in (None, "uvicorn", "uvicorn.access", "uvicorn.error", "fastmcp")]
    kept = [(each, each.handlers[:], each.propagate, each.level) for each in loggers]

    def configure(as_json: bool | None = True) -> Callable[[], list[str]]:
        configure_logging(as_json)
        return lambda: capsys.readouterr().err.splitlines()

    yield configure
    logging.captureWarnings(False)
    for each, handlers, propagate, level in kept:
        each.handlers[:], each.propagate = handlers, propagate
        each.setLevel(level)


def test_every_line_is_an_object_with_time_level_logger_and_message(logged: Any) -> None:
    lines = logged()

    logger.warning("two\nlines and a %s", "\N{SNOWMAN}")

    (record,) = map(json.loads, lines())
    assert record.pop("time").endswith("+00:00")
    assert record == {"level": "WARNING", "logger": "ml_trainer_env.test", "message": "two\nlines and a \N{SNOWMAN}"}


def test_a_line_tells_which_episode_it_is_about(logged: Any) -> None:
    lines = logged()

    with logged_episode("outer"):
        with logged_episode("inner"):
            logger.info("a")
        logger.info("b")
    logger.info("c")

    assert [json.loads(line).get("episode_id") for line in lines()] == ["inner", "outer", None]


def test_an_exception_is_told_with_its_traceback_in_the_same_line(logged: Any) -> None:
    lines = logged()

    try:
        raise ZeroDivisionError("here")
    except ZeroDivisionError:
        logger.exception("failed")

    (record,) = map(json.loads, lines())
    assert "ZeroDivisionError: here" in record["exception"]
    assert "Traceback" in record["exception"]


def test_what_a_caller_adds_is_there_too(logged: Any) -> None:
    lines = logged()

    logger.info("done", extra={"tool": "run_epochs", "seconds": 0.5})

    (record,) = map(json.loads, lines())
    assert (record["tool"], record["seconds"]) == ("run_epochs", 0.5)


def test_libraries_and_warnings_go_the_same_way(logged: Any) -> None:
    lines = logged()

    logging.getLogger("uvicorn.error").info("started", extra={"color_message": "\x1b[1mstarted"})
    logging.getLogger("fastmcp.server").warning("a tool failed")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", UserWarning, stacklevel=1)

    records = [json.loads(line) for line in lines()]
    assert [record["logger"] for record in records] == ["uvicorn.error", "fastmcp.server", "py.warnings"]
    assert "\x1b" not in str(records)
    assert "color_message" not in records[0]


def test_the_paths_that_uvicorn_logs_have_no_query(logged: Any) -> None:
    lines = logged()
    path = "/ws?session_id=secret"

    logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", path, "1.1", 200)
    logging.getLogger("uvicorn.error").info('%s - "WebSocket %s" [accepted]', ("127.0.0.1", 1), path)

    assert [json.loads(line)["message"] for line in lines()] == [
        '127.0.0.1:1 - "GET /ws HTTP/1.1" 200',
        "('127.0.0.1', 1) - \"WebSocket /ws\" [accepted]",
    ]


def test_a_socket_without_an_answer_is_an_error_unless_it_was_refused(logged: Any) -> None:
    lines = logged()
    surprised = "ASGI callable returned without completing handshake."

    def refused() -> None:
        mark_socket_refused()
        logging.getLogger("uvicorn.error").error(surprised)
        logging.getLogger("uvicorn.error").error("Exception in ASGI application")

    contextvars.copy_context().run(refused)
    logging.getLogger("uvicorn.error").error(surprised)

    messages = [json.loads(line)["message"] for line in lines()]
    assert messages == ["Exception in ASGI application", surprised]


def test_text_is_for_people(logged: Any) -> None:
    lines = logged(as_json=False)

    with logged_episode("kept"):
        logger.warning("slow")
    logger.warning("fast")

    assert [line.split(" ", 2)[2] for line in lines()] == [
        "WARNING ml_trainer_env.test: slow [kept]",
        "WARNING ml_trainer_env.test: fast",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_shows_text_and_anything_else_gets_json(
    logged: Any, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    lines = logged(as_json=None)

    logger.warning("x")

    (line,) = lines()
    assert line.startswith("{") is not terminal


@pytest.mark.parametrize("as_json", [True, False])
def test_what_a_client_sent_does_not_fill_the_log(logged: Any, as_json: bool) -> None:
    lines = logged(as_json)
    long = "x" * 900_000

    logger.warning("refused %s in the end", long)
    try:
        raise ValueError(long)
    except ValueError:
        logger.exception("a bug")

    text = "\n".join(lines())
    assert len(text) < 30_000
    assert "characters left out" in text
    assert "in the end" in text
    assert "Traceback" in text
