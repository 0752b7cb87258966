"""A real service with its workers: processes of their own, on a free port, with a folder of their own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from ml_trainer_env.arena.database import Database
from ml_trainer_env.arena.services import Services
from ml_trainer_env.arena.settings import Settings
from ml_trainer_env.arena.tables import Base, Scope
from ml_trainer_env.arena.tokens.service import create_token, revoke_token

START_S = 240.0
STOP_S = 30.0
TRAIN_IMAGES = "1800"
"""Of each task: it takes longer to draw them than to evaluate an agent that does nothing."""


@dataclass
class Arena:
    """A service that answers at `url`.

    Attributes:
        url: Its base URL.
        environment: By which commands reach the same service.
        process: To wait for it, or to end it in another way.
    """

    url: str
    environment: dict[str, str]
    process: subprocess.Popen[bytes]

    def token(self, user: str, scope: str = "user", days: float | None = None) -> str:
        """Make a token, as `ml-arena token create` does."""
        services = Services.open(Settings.from_environment(self.environment))
        with contextlib.closing(services), services.database.transaction() as session:
            return create_token(session, user, Scope(scope), days)

    def revoke(self, token: str) -> None:
        """Revoke a token, as `ml-arena token revoke` does."""
        services = Services.open(Settings.from_environment(self.environment))
        with contextlib.closing(services), services.database.transaction() as session:
            revoke_token(session, token.split("_")[2])


@contextmanager
def running(folder: Path, workers: int = 1, port: int | None = None, **variables: str) -> Iterator[Arena]:
    """A service until the end of the block."""
    if port is None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ARENA_", "ML_TRAINER_"))}
    url = f"http://127.0.0.1:{port}"
    environment = {
        **kept,
        "ARENA_DATA_DIR": str(folder),
        "ARENA_BASE_URL": url,
        "ARENA_TRAIN_IMAGES": TRAIN_IMAGES,
    } | variables
    log = (folder.parent / f"{folder.name}.log").open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", "ml_trainer_env.arena", "serve", "--workers", str(workers)],
        env=environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + START_S
        with httpx.Client(base_url=url, trust_env=False) as http:
            while True:
                try:
                    if http.get("/health").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                assert process.poll() is None, Path(log.name).read_text()[-4000:]
                assert time.monotonic() < deadline, "the service did not start in time"
                time.sleep(0.1)
        yield Arena(url, environment, process)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        log.close()


@contextmanager
def worker_process(folder: Path, environment: dict[str, str], token: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of another machine: with a folder of its own and a token of its own, until the end of the block."""
    own = {"ARENA_DATA_DIR": str(folder), "ARENA_WORKER_TOKEN": token}
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ml_trainer_env.arena", "worker"], env=environment | own, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def shared_key(database: Database) -> bytes:
    """What the seeds of runs are derived from, where machines share a database."""
    with database.transaction(read_only=True) as session:
        return bytes.fromhex(session.connection().exec_driver_sql("SELECT key_hex FROM service_key").scalar_one())


def empty(database: Database) -> None:
    """Drop all tables of a database that the next test uses, too."""
    Base.metadata.drop_all(database.engine)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS alembic_version")
