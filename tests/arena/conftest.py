"""The service that the tests share, a PostgreSQL of their own, and the options of the chaos test."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the modules beside this one

from arena_service import Arena, running

from permuted_mnist.sandbox.errors import UnsupportedError
from permuted_mnist.sandbox.layers import find_layers


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of a longer run."""
    group = parser.getgroup("arena")
    group.addoption("--arena-submissions", type=int, default=24, help="how many (default: %(default)s)")
    group.addoption("--arena-kills", type=int, default=4, help="how often to kill -9 (default: %(default)s)")
    group.addoption("--arena-seed", type=int, default=1, help="fixes who is killed when (default: %(default)s)")


@pytest.fixture(scope="session")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """A service with one worker."""
    try:
        find_layers()
    except UnsupportedError as error:
        pytest.skip(f"no sandbox, so no worker: {error}")
    with running(tmp_path_factory.mktemp("arena") / "data") as service:
        yield service


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of an empty database on a server of its own, reached by a socket in its folder."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not installed")
    programs = found[-1].parent
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        as_owner: list[str] = []
        if folder.owner() == "root":  # PostgreSQL refuses to run as root
            shutil.chown(folder, "postgres")
            as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        data = folder / "data"
        initdb = [programs / "initdb", "-D", data, "-A", "trust", "-U", "arena", "--encoding=UTF8"]
        subprocess.run([*as_owner, *map(str, initdb)], check=True, stdout=subprocess.DEVNULL, cwd=folder)
        control = [*as_owner, str(programs / "pg_ctl"), "-D", str(data), "-w"]
        options = f"-c listen_addresses= -k {folder} -c max_connections=200"
        subprocess.run(
            [*control, "-l", str(folder / "log"), "-o", options, "start"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
        )
        try:
            yield f"postgresql+psycopg://arena@/postgres?host={folder}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL, cwd=folder)
