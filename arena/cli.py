"""The command `ml-arena`: serve, work, make tokens, back up."""

import argparse
import contextlib
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn

from ml_trainer_env.arena.app import create_app
from ml_trainer_env.arena.errors import ArenaError
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.settings import DEFAULT_BASE_URL, Settings, SettingsError
from ml_trainer_env.arena.setup import set_up
from ml_trainer_env.arena.sweep import sweep
from ml_trainer_env.arena.tables import Scope
from ml_trainer_env.arena.tokens.service import create_token, revoke_token
from ml_trainer_env.arena.workers.worker import Worker, layers_for_submissions
from permuted_mnist.sandbox.errors import UnsupportedError

__all__ = ["main"]

_LOG = logging.getLogger(__name__)

KEEP_ALIVE_S = 75
"""Longer than clients and proxies keep a connection for, so that they close it, and not this side under a request."""

MAX_CONNECTIONS = 1000

_STOP_S = 20.0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="ml-arena", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("serve", help="start the service and its workers")
    command.add_argument("--host", default="127.0.0.1")
    command.add_argument("--port", type=int, help="default: the one of ARENA_BASE_URL")
    command.add_argument("--workers", type=int, help="worker processes (default: ARENA_WORKERS, 1)")
    command.set_defaults(run=_serve)

    command = commands.add_parser("worker", help="work off the queue of a service")
    command.add_argument("--parent", type=int, help="number of a process with which it ends (default: none)")
    command.set_defaults(run=_work)

    token = commands.add_parser("token", help="make or revoke a token").add_subparsers(required=True, metavar="DEED")
    command = token.add_parser("create", help="make a token, and print it this once")
    command.add_argument("--scope", type=Scope, choices=list(Scope), default=Scope.USER)
    command.add_argument("--user", required=True, help="whose it is; made if new")
    command.add_argument("--days", type=float, help="how long it is good (default: for ever)")
    command.set_defaults(run=_create_token)
    command = token.add_parser("revoke", help="make a token worthless")
    command.add_argument("lookup", help="the third part of the token")
    command.set_defaults(run=_revoke_token)

    command = commands.add_parser("backup", help="write database and files to an archive")
    command.add_argument("file", type=Path, metavar="FILE.tar.gz")
    command.set_defaults(run=_back_up)

    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        return int(chosen.run(chosen, Settings.from_environment(os.environ)))
    except (ArenaError, SettingsError, UnsupportedError) as error:
        print(f"ml-arena: {error}", file=sys.stderr)
        return 2


def _serve(chosen: argparse.Namespace, settings: Settings) -> int:
    if chosen.port and settings.base_url == DEFAULT_BASE_URL:
        settings = replace(settings, base_url=f"http://127.0.0.1:{chosen.port}")
    count = settings.workers if chosen.workers is None else chosen.workers
    if count:
        layers_for_submissions()
    services = Services.open(settings)
    set_up(services)
    _LOG.info("%s files that nothing names were removed", sweep(services))
    port = chosen.port or urlsplit(settings.base_url).port or 5000
    with _workers(count):
        uvicorn.run(
            create_app(services),
            host=chosen.host,
            port=port,
            log_config=None,
            access_log=False,  # URLs of logs are signed: whoever reads one can read the log
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            limit_concurrency=MAX_CONNECTIONS,
        )
    return 0


def _work(chosen: argparse.Namespace, settings: Settings) -> int:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if chosen.parent is not None:
        threading.Thread(target=_stop_with_parent, args=(chosen.parent, stop), daemon=True).start()
    layers = layers_for_submissions()
    services = Services.open(settings)
    try:
        Worker(services, layers).work(stop)
    finally:
        services.close()
    return 0


def _create_token(chosen: argparse.Namespace, settings: Settings) -> int:
    services = Services.open(settings)
    with services.database.transaction() as session:
        token = create_token(session, chosen.user, chosen.scope, chosen.days)
    services.close()
    print(token)
    return 0


def _revoke_token(chosen: argparse.Namespace, settings: Settings) -> int:
    services = Services.open(settings)
    with services.database.transaction() as session:
        revoke_token(session, chosen.lookup)
    services.close()
    return 0


def _back_up(chosen: argparse.Namespace, settings: Settings) -> int:
    """A snapshot while the service runs: first the database, then the files, which never change."""
    services = Services.open(settings)
    try:
        if not services.database.is_sqlite:
            print("ml-arena: back PostgreSQL up with pg_dump, and this service's files as files", file=sys.stderr)
            return 2
        with tempfile.TemporaryDirectory() as folder, tarfile.open(chosen.file, "w:gz") as archive:
            copy = Path(folder) / "arena.db"
            source = sqlite3.connect(str(services.database.engine.url.database))
            with contextlib.closing(source), contextlib.closing(sqlite3.connect(copy)) as target:
                source.backup(target)
            archive.add(copy, "arena.db")
            for name in ("signing.key", "files"):
                archive.add(settings.data_dir / name, name)
    finally:
        services.close()
    return 0


@contextlib.contextmanager
def _workers(count: int) -> Iterator[None]:
    """Worker processes, started again when they die, ended at the end."""
    stop = threading.Event()
    command = [sys.executable, "-m", "ml_trainer_env.arena", "worker", "--parent", str(os.getpid())]

    def keep() -> None:
        while not stop.is_set():
            with subprocess.Popen(command) as process:
                while process.poll() is None and not stop.is_set():
                    stop.wait(0.2)
                if stop.is_set():
                    _end(process)
                else:
                    _LOG.warning("a worker ended with status %s, and is started again", process.returncode)
                    stop.wait(1.0)

    threads = [threading.Thread(target=keep, name=f"keeper-{number}") for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _stop_with_parent(parent: int, stop: threading.Event) -> None:
    """Whoever started this worker has died: what it holds is left to its successor."""
    while os.getppid() == parent:
        time.sleep(1.0)
    stop.set()
