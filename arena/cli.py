"""The command `ml-arena`: serves a competition, works on its queue, manages tokens, makes backups.

`organiser_commands` has the subcommands for competitions and their submissions.

Each subcommand imports the service when it runs, so that `--help` is fast.
"""

import argparse
import contextlib
import functools
import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ml_trainer_env.arena.errors import ArenaError
from ml_trainer_env.arena.organiser_commands import add_commands
from ml_trainer_env.arena.settings import DEFAULT_BASE_URL, Settings
from ml_trainer_env.command_line import CommandParser, bound_socket, port_number, run_command

if TYPE_CHECKING:
    from ml_trainer_env.arena.services import Services
    from permuted_mnist.sandbox.layers import Layers

__all__ = ["main"]

_LOG = logging.getLogger(__name__)

KEEP_ALIVE_S = 75
"""Longer than the timeouts of clients and proxies. So they close idle connections, never the server."""

MAX_CONNECTIONS = 1000
MAX_CONNECTIONS_PER_ADDRESS = 100
HEAD_S = 20.0
"""Time limit for the head of a request, in seconds."""

SCOPES = ("user", "creator", "teacher", "worker")
"""Values of `tables.Scope`, repeated here because importing `tables` imports SQLAlchemy."""

_STOP_S = 20.0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = CommandParser(prog="ml-arena", description="Run and manage a competition service.")
    parser.add_version()
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("serve", help="start the service and its workers")
    command.add_argument("--host", default="127.0.0.1")
    command.add_argument("--port", type=port_number, help="default: the one of ARENA_BASE_URL")
    command.add_argument("--workers", type=_count, help="worker processes (default: ARENA_WORKERS, 1)")
    command.set_defaults(run=_serve)

    command = commands.add_parser(
        "worker", help="start one worker for the queue of a service, on this or another machine"
    )
    command.add_argument("--parent", type=int, help="process id; the worker stops when it ends (default: none)")
    command.set_defaults(run=_work)

    token = commands.add_parser("token", help="create or revoke a token").add_subparsers(
        required=True, metavar="ACTION"
    )
    command = token.add_parser("create", help="create a token and print it; it cannot be shown again")
    command.add_argument("--scope", choices=SCOPES, default="user")
    command.add_argument("--user", required=True, help="owner of the token; created if new")
    command.add_argument("--days", type=float, help="lifetime of the token (default: unlimited)")
    command.set_defaults(run=_create_token)
    command = token.add_parser("revoke", help="revoke a token")
    command.add_argument("lookup", help="third part of the token")
    command.set_defaults(run=_revoke_token)

    runtime = commands.add_parser("runtime", help="add, list or remove runtimes: packages for agents").add_subparsers(
        required=True, metavar="ACTION"
    )
    command = runtime.add_parser("add", help="install packages into an environment of their own")
    command.add_argument("name", help="by which participants and creators choose it")
    command.add_argument("--requirements", type=Path, required=True, metavar="FILE", help="requirements file of pip")
    command.set_defaults(run=_add_runtime)
    command = runtime.add_parser("list", help="list the available runtimes")
    command.set_defaults(run=_list_runtimes)
    command = runtime.add_parser("remove", help="offer a runtime no longer")
    command.add_argument("name")
    command.set_defaults(run=_remove_runtime)

    command = commands.add_parser("backup", help="write the database and the files to an archive")
    command.add_argument("file", type=Path, metavar="FILE.tar.gz")
    command.set_defaults(run=_back_up)

    add_commands(commands)

    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)  # it logs the name of each plugin
    return run_command("ml-arena", functools.partial(_run_chosen, chosen), (ArenaError,))


def _run_chosen(chosen: argparse.Namespace) -> int:
    settings = Settings.from_environment(os.environ)
    if (organise := getattr(chosen, "organise", None)) is not None:
        return int(organise(chosen, lambda: contextlib.closing(_open_services(settings))))
    return int(chosen.run(chosen, settings))


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise argparse.ArgumentTypeError(f"should be a whole number of at least 0, not {text!r}")
    return int(text)


def _serve(chosen: argparse.Namespace, settings: Settings) -> int:
    if chosen.port and settings.base_url == DEFAULT_BASE_URL:
        settings = replace(settings, base_url=f"http://127.0.0.1:{chosen.port}")
    count = settings.workers if chosen.workers is None else chosen.workers
    listener = bound_socket(chosen.host, chosen.port or urlsplit(settings.base_url).port or 5000)
    if count:
        _find_layers()

    import uvicorn

    from ml_trainer_env.arena.app import create_app
    from ml_trainer_env.arena.connections import ConnectionLimits, limited_protocol
    from ml_trainer_env.arena.runtimes import forget_unused
    from ml_trainer_env.arena.setup import set_up
    from ml_trainer_env.arena.sweep import sweep
    from ml_trainer_env.http_serving import serve

    services = _open_services(settings)
    set_up(services)
    _LOG.info("removed %s unused runtimes", forget_unused(services))
    _LOG.info("removed %s unreferenced files", sweep(services))
    limits = ConnectionLimits(MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS, HEAD_S, settings.proxies)
    config = uvicorn.Config(
        create_app(services),
        http=limited_protocol(limits),
        host=chosen.host,
        log_config=None,
        access_log=False,  # it would contain signed URLs, which give access to run logs
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    with _token_for_workers(services) as variables, _supervise_workers(count, variables):
        return serve(config, listener)


def _work(chosen: argparse.Namespace, settings: Settings) -> int:
    from ml_trainer_env.arena.workers.worker import Worker

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if chosen.parent is not None:
        threading.Thread(target=_stop_with_parent, args=(chosen.parent, stop), daemon=True).start()
    layers = _find_layers()
    with contextlib.closing(_open_services(settings)) as services:
        worker = Worker(services, layers)
        worker.prove()
        worker.work(stop)
    return 0


def _create_token(chosen: argparse.Namespace, settings: Settings) -> int:
    from ml_trainer_env.arena.tables import Scope
    from ml_trainer_env.arena.tokens.service import create_token

    with contextlib.closing(_open_services(settings)) as services, services.database.transaction() as session:
        token = create_token(session, chosen.user, Scope(chosen.scope), chosen.days)
    print(token)
    return 0


def _revoke_token(chosen: argparse.Namespace, settings: Settings) -> int:
    from ml_trainer_env.arena.tokens.service import revoke_token

    with contextlib.closing(_open_services(settings)) as services, services.database.transaction() as session:
        revoke_token(session, chosen.lookup)
    return 0


def _add_runtime(chosen: argparse.Namespace, settings: Settings) -> int:
    from ml_trainer_env.arena.runtimes import add_runtime

    with contextlib.closing(_open_services(settings)) as services:
        added = add_runtime(services, chosen.name, chosen.requirements)
    print(f"{added.framework} {added.framework_version} has {len(added.packages)} packages")
    return 0


def _list_runtimes(_: argparse.Namespace, settings: Settings) -> int:
    from ml_trainer_env.arena.runtimes import runtimes

    with (
        contextlib.closing(_open_services(settings)) as services,
        services.database.transaction(read_only=True) as session,
    ):
        for one in runtimes(session):
            where = "added" if one.environment else "of this service"
            print(f"{one.id}\t{one.framework} {one.framework_version}\tPython {one.language_version}\t{where}")
    return 0


def _remove_runtime(chosen: argparse.Namespace, settings: Settings) -> int:
    from ml_trainer_env.arena.runtimes import remove_runtime

    with contextlib.closing(_open_services(settings)) as services:
        is_gone = remove_runtime(services, chosen.name)
    print("removed" if is_gone else "no longer offered; its folder goes at a start when nothing needs it any more")
    return 0


def _back_up(chosen: argparse.Namespace, settings: Settings) -> int:
    """Back up while the service runs. The database is copied first; its files are never modified afterwards."""
    with contextlib.closing(_open_services(settings)) as services:
        if not services.database.is_sqlite:
            raise ArenaError("back PostgreSQL up with pg_dump, and this service's files as files")
        with tempfile.TemporaryDirectory() as folder, tarfile.open(chosen.file, "w:gz") as archive:
            copy = Path(folder) / "arena.db"
            source = sqlite3.connect(str(services.database.engine.url.database))
            with contextlib.closing(source), contextlib.closing(sqlite3.connect(copy)) as target:
                source.backup(target)
            archive.add(copy, "arena.db")
            for name in ("signing.key", "files"):
                archive.add(settings.data_dir / name, name)
    return 0


def _open_services(settings: Settings) -> "Services":
    """Open the components of the service.

    Raises:
        ArenaError: The database cannot be opened.
        OSError: The data folder is not writable.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from ml_trainer_env.arena.services import Services

    try:
        return Services.open(settings)
    except (SQLAlchemyError, ModuleNotFoundError) as error:  # the database driver may not be installed
        reason = getattr(error, "orig", None) or error
        raise ArenaError(
            f"the database {_without_password(settings.database_url)} cannot be opened: {reason}"
        ) from error


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _find_layers() -> "Layers":
    """Find the sandbox layers for submissions.

    Raises:
        ArenaError: The sandbox would be too weak.
    """
    from ml_trainer_env.arena.workers.worker import layers_for_submissions
    from permuted_mnist.sandbox.errors import UnsupportedError

    try:
        return layers_for_submissions()
    except UnsupportedError as error:
        raise ArenaError(str(error)) from error


@contextlib.contextmanager
def _token_for_workers(services: "Services") -> Iterator[dict[str, str]]:
    """Create the token of the workers that this process starts, if workers need one. It is revoked at the end.

    Yields environment variables.
    """
    if not services.settings.is_shared:
        yield {}
        return
    from ml_trainer_env.arena.tables import Scope
    from ml_trainer_env.arena.tokens.service import create_token, revoke_token

    with services.database.transaction() as session:
        token = create_token(session, f"serve-{socket.gethostname()}"[:64], Scope.WORKER)
    try:
        yield {"ARENA_WORKER_TOKEN": token}
    finally:
        with contextlib.closing(_open_services(services.settings)) as again, again.database.transaction() as session:
            revoke_token(session, token.split("_")[2])


@contextlib.contextmanager
def _supervise_workers(count: int, variables: Mapping[str, str]) -> Iterator[None]:
    """Supervise worker processes: restart each one that ends, and stop all at the end of the block.

    Args:
        count: Number of processes.
        variables: Environment variables that they have beside those of this process.
    """
    stop = threading.Event()
    command = [sys.executable, "-m", "ml_trainer_env.arena", "worker", "--parent", str(os.getpid())]

    def supervise() -> None:
        while not stop.is_set():
            with subprocess.Popen(command, env={**os.environ, **variables}) as process:
                while process.poll() is None and not stop.is_set():
                    stop.wait(0.2)
                if stop.is_set():
                    _stop_process(process)
                else:
                    _LOG.warning("a worker ended with status %s, and is started again", process.returncode)
                    stop.wait(1.0)

    threads = [threading.Thread(target=supervise, name=f"supervisor-{number}") for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _stop_process(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _stop_with_parent(parent: int, stop: threading.Event) -> None:
    """Stop this worker when its parent process ends. Its evaluation is then claimed by another worker."""
    while os.getppid() == parent:
        time.sleep(1.0)
    stop.set()
