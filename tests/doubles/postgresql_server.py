"""A PostgreSQL server for tests, in a folder of its own, from Debian's packages."""

import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

__all__ = ["PostgresqlServer", "postgresql_server"]


@dataclass(frozen=True)
class PostgresqlServer:
    """A running server.

    Attributes:
        url: The URL of its first database.
    """

    url: str

    def new_database(self) -> str:
        """Create an empty database and return its URL."""
        name = f"test_{uuid.uuid4().hex}"
        engine = sa.create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} STRATEGY file_copy")
        return self.url.replace("/postgres?", f"/{name}?")


@contextmanager
def postgresql_server(is_durable: bool = False) -> Iterator[PostgresqlServer]:
    """Run a server until the end of the block. It is reached by a socket in its folder. Skips without PostgreSQL.

    Args:
        is_durable: Whether a transaction waits for the disk, as it does where data matter.
    """
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
        initdb = [programs / "initdb", "-D", data, "-A", "trust", "-U", "tests", "--encoding=UTF8", "--no-sync"]
        subprocess.run([*as_owner, *map(str, initdb)], check=True, stdout=subprocess.DEVNULL, cwd=folder)
        control = [*as_owner, str(programs / "pg_ctl"), "-D", str(data), "-w"]
        options = f"-c listen_addresses= -k {folder} -c max_connections=200 -c fsync={'on' if is_durable else 'off'}"
        subprocess.run(
            [*control, "-l", str(folder / "log"), "-o", options, "start"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
        )
        try:
            yield PostgresqlServer(f"postgresql+psycopg://tests@/postgres?host={folder}")
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL, cwd=folder)
