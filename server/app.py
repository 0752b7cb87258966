"""The command `server`, and the application for other servers.

`uvicorn server.app:app`, `server` and `python -m ml_trainer_env.server.app` use this module. Its attribute `app` builds
the application on access. `composition` is imported late, so that `--help`, a bad setting and a port in use are
answered at once.
"""

import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ml_trainer_env.command_line import CommandParser, bound_socket, port_number, run_command

if TYPE_CHECKING:
    import argparse
    import socket

    from ml_trainer_env.server.composition import build_app
    from ml_trainer_env.server.episodes.game import Game
    from ml_trainer_env.server.settings import Settings

    Games = Callable[[Settings], Mapping[str, Game]]
    """Returns the games of a server by the prefix of their paths."""

__all__ = ["build_app", "main", "served_app"]

YOUNG_OBJECTS = 10_000
"""The garbage collector runs after this many new objects."""

SHUTDOWN_S = 5
"""Seconds that a stopping server waits for running calls."""


def main(arguments: Sequence[str] | None = None, games: "Games | None" = None) -> int:
    """Serve until a signal stops the server.

    Args:
        arguments: Those of the command. None for those of the process.
        games: The games. None for those that the program has.

    Returns:
        The exit status.
    """
    parser = CommandParser(prog="server", description="Serve the ML Training Optimizer.")
    parser.add_version()
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    parser.add_argument("--port", type=port_number, default=8000, help="port to bind (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    return run_command("server", lambda: _serve(chosen, games))


def _serve(chosen: "argparse.Namespace", games: "Games | None") -> int:
    with bound_socket(chosen.host, chosen.port) as listener:  # a port in use is reported before anything is made
        return _serve_on(listener, chosen, games)


def _serve_on(listener: "socket.socket", chosen: "argparse.Namespace", games: "Games | None") -> int:
    # Late imports: a port in use or a bad setting is reported before they take seconds.
    from ml_trainer_env.server.settings import Settings

    settings = Settings.from_environment(os.environ)
    import uvicorn

    from ml_trainer_env.http_serving import serve
    from ml_trainer_env.server.composition import build_app
    from ml_trainer_env.server.security import MAX_BODY_BYTES

    _prepare_process()
    config = uvicorn.Config(
        build_app(settings, games=games and games(settings)),
        host=chosen.host,
        port=chosen.port,
        timeout_graceful_shutdown=SHUTDOWN_S,
        ws_max_size=MAX_BODY_BYTES,
        log_config=None,
    )
    return serve(config, listener)


def served_app(games: "Games | None" = None) -> Any:
    """Return the application for another server, in a process that is prepared for it. `games` as of `main`."""
    _prepare_process()
    return _app_or_exit(games)


def _app_or_exit(games: "Games | None" = None) -> Any:
    """Build the application for another server. A user's error ends the process with a message of one line."""
    from ml_trainer_env.server.composition import build_app
    from ml_trainer_env.server.settings import Settings

    built: list[Any] = []

    def build() -> int:
        settings = Settings.from_environment(os.environ)
        built.append(build_app(settings, games=games and games(settings)))
        return 0

    if (status := run_command("server", build)) != 0:
        raise SystemExit(status)
    return built[0]


def _prepare_process() -> None:
    """Configure the log, the allocator and the garbage collector of the process.

    A full collection visits every object and blocks all sessions. With 500 sessions it took half a second, every five
    seconds. So imported objects are excluded. Young objects are collected less often, so that the objects of running
    calls do not become old ones.
    """
    # Late imports, as in `_serve`.
    from ml_trainer_env.server.operations.allocator import keep_freed_memory
    from ml_trainer_env.server.operations.logs import configure_logging

    configure_logging()
    keep_freed_memory()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def __getattr__(name: str) -> Any:
    if name == "app":
        return served_app()
    if name == "build_app":
        from ml_trainer_env.server.composition import build_app

        return build_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    sys.exit(main())
