"""Records the twelve episodes of `recorded_scripts.py`, for `test_recorded_episodes.py`.

    python tests/recordings/record.py [FOLDER]         # without a folder: the fixture beside this file

It starts a server of the installed package with one worker, one torch thread, no cache and the bundled images alone,
plays the scripts with the Python client, and writes two files:

- `replies.json.gz`: the facts of the machine, what the client sent and received in each episode, and what
  `ml-trainer-journal export` makes of the journal;
- `journal.sqlite3.gz`: the journal that the server wrote.

The fixture is what the program did when it was recorded. Record anew only when a change of results is intended.
"""

import gzip
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parent))

from recorded_scripts import SCRIPTS, play

HOST = "127.0.0.1"
JOURNAL = "journal.sqlite3"
SETTINGS = {
    "ML_TRAINER_WORKERS": "1",
    "ML_TRAINER_TORCH_THREADS": "1",
    "ML_TRAINER_CACHE": "no",
    "ML_TRAINER_DOWNLOAD": "no",
}
"""The settings of the server that plays the episodes. The number of threads changes the bits of results."""

START_LIMIT_S = 120.0


def main() -> None:
    """Record."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    with tempfile.TemporaryDirectory() as scratch:
        with running_server(Path(scratch)) as url:
            episodes = []
            for script in SCRIPTS:
                print(script.name, flush=True)  # noqa: T201
                episodes.append(play(script, url))
        journal = Path(scratch) / "state" / JOURNAL
        with closing(sqlite3.connect(journal, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode=DELETE")
            database.execute("VACUUM")
            [[versions]] = database.execute("SELECT DISTINCT versions FROM episodes")
        alone = Path(scratch) / "alone"  # the journal without the models
        alone.mkdir()
        (alone / JOURNAL).write_bytes(journal.read_bytes())
        recorded = {
            "versions": json.loads(versions),
            "episodes": episodes,
            "trajectories": exported(alone, "trajectory"),
            "chats": exported(alone, "chat"),
        }
        write_gzip(folder / f"{JOURNAL}.gz", journal.read_bytes())
        write_gzip(folder / "replies.json.gz", json.dumps(recorded, indent=1).encode())


def exported(state: Path, form: str) -> list[Any]:
    """The episodes of a journal as `ml-trainer-journal export` writes them, without the schemas of the tools."""
    return without_tools(journal_command(state, "export", "--all", "--format", form).stdout)


def without_tools(lines: str) -> list[Any]:
    """The episodes that an export printed, without the schemas of the tools."""
    read = map(json.loads, lines.splitlines())
    return [{name: value for name, value in episode.items() if name != "tools"} for episode in read]


def journal_command(state: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `ml-trainer-journal` on the journal in a state folder."""
    command = [str(Path(sys.executable).with_name("ml-trainer-journal")), *arguments]
    return subprocess.run(command, env=environment(state), capture_output=True, text=True)


def environment(state: Path) -> dict[str, str]:
    """The environment of a server that keeps its state in this folder, or of a command that reads it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ML_TRAINER_")}
    return {**own, **SETTINGS, "ML_TRAINER_STATE_DIR": str(state)}


def write_gzip(path: Path, content: bytes) -> None:
    """Write a compressed file that depends on its content alone."""
    path.write_bytes(gzip.compress(content, 9, mtime=0))


@contextmanager
def running_server(folder: Path) -> Iterator[str]:
    """A server that keeps its state in `folder/state`. Gives its address."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    url = f"http://{HOST}:{port}"
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "ml_trainer_env.server.app", "--host", HOST, "--port", str(port)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(folder / "state"),
        )
    try:
        ends_at = time.monotonic() + START_LIMIT_S
        while not _is_ready(url):
            if time.monotonic() > ends_at or server.poll() is not None:
                raise RuntimeError(f"the server does not start:\n{(folder / 'server.log').read_text()[-4000:]}")
            time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait(30.0)


def _is_ready(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"{url}/ready", timeout=5.0, trust_env=False).status_code == 200
    return False


if __name__ == "__main__":
    main()
