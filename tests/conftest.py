"""A real server for tests that need one, on a free port of this machine.

    def test_it_is_healthy(live_server: str) -> None: ...               # shared by the whole run

    def test_a_setting(tmp_path) -> None:                               # one of the test's own, in this process
        with served_here(tmp_path, MAX_SESSIONS="2") as (address, _):
            httpx.get(f"http://{address}/health")

    def test_a_signal(start_server) -> None:                            # a process of its own, which costs 6 s of CPU
        with start_server(ML_TRAINER_MAX_SESSIONS="2") as server:
            server.process.terminate()

Servers take their settings from the test alone: `ML_TRAINER_*` variables of whoever runs the tests,
and API keys, do not reach them, and they download nothing. Each keeps its episodes in a folder of its own,
and trains every epoch: with `ML_TRAINER_CACHE="yes"`, what is compared might be one result seen twice.
"""

import atexit
import functools
import gc
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import hypothesis
import pytest

sys.path.insert(0, str(Path(__file__).parent / "doubles"))  # not this folder itself: it would hide permuted_mnist

from done_once import check_schemas_once, migrate_once
from postgresql_server import PostgresqlServer, postgresql_server
from s3_server import S3Server, s3_server

# Tests train in threads and processes beside each other: OpenMP threads that spin while they wait
# would slow each other down many times over. It must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# No test depends on a timing: an example may take as long as a busy machine makes it.
hypothesis.settings.register_profile("any duration", deadline=None)
hypothesis.settings.load_profile("any duration")

# A context of TLS loads every authority there is, which takes 40 ms of CPU, and the tests make thousands of clients.
ssl.create_default_context = functools.cache(ssl.create_default_context)

migrate_once()
check_schemas_once()

# torch.optim's classes import torch's compiler, which imports Triton where it is installed. Triton's bindings can print
# a long report of leaks when the process ends. No test compiles a network in this process.
sys.modules["triton"] = None  # type: ignore[assignment]

# What keeps its state where the user keeps such things must not find what the user has there.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="state-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

START_LIMIT_S = 240.0
"""On a busy machine the 6 s of CPU that a start needs have taken two minutes."""

STOP_LIMIT_S = 20.0
HOST = "127.0.0.1"
_SERVER = ("-m", "ml_trainer_env.server.app")
_SECRETS = ("OPENAI_API_KEY", "OPENROUTER_API_KEY", "GEMINI_API_KEY", "HF_TOKEN", "ENV_URL")

SHARED = ("s3", "pool", "live_server", "arena")
"""The fixtures that start servers for a whole run. A file that uses several is in the group of the last."""


@dataclass
class LiveServer:
    """A server that answers at `url` until `stop`.

    Attributes:
        url: Its base URL, without a slash at the end.
        pid: Its process.
        log_path: All that it printed.
        process: To wait for it, or to end it in another way than `stop` does.
    """

    url: str
    log_path: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> int:
        """Ask it to end, as a supervisor would; make it, if it does not. Safe to repeat.

        Returns:
            Its exit code, negative for a signal.
        """
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_LIMIT_S)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


StartServer = Callable[..., LiveServer]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep the garbage collector away from what collecting makes.

    Modules and tests are millions of objects that live as long as the process. Visiting them again and again took a
    third of the time of collecting, and every full collection after it took a second.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a process of xdist where it writes which files share a server."""
    node.workerinput["groups"] = str(_groups_path())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Write down for xdist's scheduler which files use a shared server. The name of the server is their group."""
    groups = {
        item.nodeid.split("::")[0]: name
        for name in SHARED
        for item in items
        if name in getattr(item, "fixturenames", ())
    }
    if path := getattr(config, "workerinput", {}).get("groups"):
        written = Path(f"{path}-{os.getpid()}")
        written.write_text(json.dumps(groups))
        written.replace(path)  # each process writes the same


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Run all files of a group in one process, which starts one server for them.

    xdist's own groups (`--dist loadgroup`) are names at the end of the tests' ids, which pytest 9.2 does not let it
    write: everything runs, and nothing is grouped.
    """
    from xdist.scheduler import LoadFileScheduling  # a late import: it is there where tests run in several processes

    class FilesAndGroups(LoadFileScheduling):
        @functools.cached_property
        def groups(self) -> dict[str, str]:
            return json.loads(_groups_path().read_text())

        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return self.groups.get(file, file)

    return FilesAndGroups(config, log) if config.getvalue("dist") == "loadfile" else None


def _groups_path() -> Path:
    return Path(os.environ["XDG_STATE_HOME"]) / "groups.json"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A PostgreSQL server, shared by the whole run."""
    with postgresql_server() as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A server that speaks S3, shared by the whole run."""
    with s3_server() as server:
        yield server


@pytest.fixture(scope="session")
def live_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a server with default settings, shared by the whole run.

    It is a process of its own: a thread of this process that lives as long draws random numbers while other tests'
    strategies draw theirs, which Hypothesis refuses.
    """
    with _start(tmp_path_factory.mktemp("live_server"), {}) as server:
        yield server.url


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Starts a server with these environment variables; ended at the latest with the module's tests.

    `program` is what Python runs, in place of the server's module.
    """
    started: list[LiveServer] = []

    def start(program: Sequence[str] = _SERVER, **variables: str) -> LiveServer:
        server = _start(tmp_path_factory.mktemp("server"), variables, program)
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


def _start(folder: Path, variables: dict[str, str], program: Sequence[str] = _SERVER) -> LiveServer:
    port = _free_port()
    log_path = folder / "server.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *program, "--host", HOST, "--port", str(port)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment({"ML_TRAINER_STATE_DIR": str(folder / "state"), **variables}),
            start_new_session=True,
        )
    server = LiveServer(f"http://{HOST}:{port}", log_path, process)
    try:
        _wait_until_healthy(server)
    except BaseException:
        server.stop()
        raise
    return server


def _wait_until_healthy(server: LiveServer) -> None:
    ends_at = time.monotonic() + START_LIMIT_S
    with httpx.Client(timeout=5.0, trust_env=False) as http:
        while time.monotonic() < ends_at and server.process.poll() is None:
            with suppress(httpx.TransportError):
                if http.get(f"{server.url}/health").status_code == 200:
                    return
            time.sleep(0.1)
    raise RuntimeError(f"the server is not healthy; it printed:\n{server.log[-4000:]}")


def _environment(variables: dict[str, str]) -> dict[str, str]:
    own = {
        name: value for name, value in os.environ.items() if not name.startswith("ML_TRAINER_") and name not in _SECRETS
    }
    return {**own, "ML_TRAINER_DOWNLOAD": "no", "ML_TRAINER_CACHE": "no", "OMP_WAIT_POLICY": "passive", **variables}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
